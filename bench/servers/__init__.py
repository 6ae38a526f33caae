"""All servers of the benchmark, ours first; the order of the tables when numbers are equal."""

from bench.servers.base import Server
from bench.servers.ours import (
    Videodock,
    VideodockAuth,
    VideodockHanging,
    VideodockPortable,
    VideodockScheduling,
    VideodockTwo,
    VideodockWithoutFsync,
)
from bench.servers.peers import (
    FastapiForm,
    FlaskForm,
    Nginx,
    PlainAsgi,
    ResumableUpload,
    Rustus,
    SpliceLoop,
    StarletteForm,
    Tusd,
    TusNode,
    Tuspyserver,
)

SERVERS: tuple[type[Server], ...] = (
    Videodock,
    VideodockWithoutFsync,
    VideodockTwo,
    VideodockAuth,
    VideodockScheduling,
    VideodockHanging,
    SpliceLoop,
    VideodockPortable,
    PlainAsgi,
    Nginx,
    Tusd,
    Rustus,
    TusNode,
    Tuspyserver,
    ResumableUpload,
    StarletteForm,
    FastapiForm,
    FlaskForm,
)

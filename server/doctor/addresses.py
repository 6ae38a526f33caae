"""Whether `Location` names the upload as clients reach it.

Rule: scheme, host, port and path are compared one by one, so that a finding names the one header that is wrong.
"""

from urllib.parse import urlsplit

from server.doctor.findings import Check
from server.doctor.visit import Visit
from server.doctor.wire import Answer
from server.messages.phrases import Phrase

_PORTS = {"http": 80, "https": 443}


def compare(visit: Visit, creation: Answer, check: Check) -> None:
    """Compare the `Location` of the creation with the public address."""
    found = urlsplit(creation.get("Location") or "")
    if not found.scheme:
        check.note = Phrase.of("location_relative")
        return
    address = visit.address
    if found.scheme != address.scheme:
        check.find("location_scheme", found=found.scheme, expected=address.scheme)
    if (found.hostname or "") != address.host.lower():
        check.find("location_host", found=found.hostname or "", expected=address.host)
    try:
        port = found.port
    except ValueError:
        port = None
    # With a wrong scheme, the default port says nothing new.
    if port is None and found.scheme == address.scheme:
        port = _PORTS.get(found.scheme)
    if port is not None and port != address.port and (found.hostname or "") == address.host.lower():
        check.find("location_port", found=port, expected=address.port)
    expected = f"{visit.prefix}/files/"
    if not found.path.startswith(expected):
        prefix = visit.prefix or '""'
        check.find("location_prefix", found=found.path.rpartition("/")[0] + "/", expected=expected, prefix=prefix)

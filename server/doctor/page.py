"""docs/doctor.md: what the doctor checks, and every code that it may find.

Rule: the table is made from `catalogue.py` and the English of `server/messages/doctor`; `make docs` writes the page.
"""

from server.doctor.catalogue import CATALOGUE, Entry, Level
from server.doctor.findings import Finding

_HEAD = """\
# `videodock doctor`

This page is generated: `make docs`.

```sh
videodock doctor                                      # this machine: run it as the server's user
videodock doctor --url https://video.example.com      # and the proxies in front of the server
videodock doctor --url https://video.example.com --only-url --json    # from another machine
```

It changes nothing and runs beside a server. Exit code 0: nothing is wrong. 1: something is. 2: an option is wrong.
`--json` prints every check with its findings; the codes stay the same in later versions.

With `--url` it creates one upload that never gets all its bytes, sends some MiB, and removes the upload at the end. If
that is not possible, `upload_left` names its id. With authentication on, it needs a key of the scope `upload`:

```sh
export VIDEODOCK_DOCTOR_KEY=$(videodock keys create --owner doctor --scope upload --expires 1h)
```

The check of HTTP/2 needs the extra `doctor` (`pip install 'videodock[doctor]'`). `--ca FILE` names a certificate of
your own; `--origin` the web origin of your pages, where `cors_origins` is not `*`.

The lines of nginx, HAProxy and Caddy are where the cause is usually found. A line that begins with `#` names what to
remove. A finding that is `advice` does not change the exit code. The tests run real nginx, HAProxy and Caddy with these
mistakes.

"""


def page() -> str:
    """The whole page."""
    rows = [_row(code, entry) for code, entry in sorted(CATALOGUE.items())]
    return _HEAD + "\n".join(["| code | what it means | what to change |", "| --- | --- | --- |", *rows]) + "\n"


def _row(code: str, entry: Entry) -> str:
    finding = Finding(code, _Names())
    advice = " *(advice)*" if entry.level is Level.ADVICE else ""
    lines = "".join(f"<br>{name}: `{_cell(line)}`" for name, line in finding.directives(None).items())
    return f"| `{code}`{advice} | {_cell(finding.text())} | {_cell(finding.change())}{lines} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


class _Names(dict[str, str | int | float]):
    """Every parameter, as its own name."""

    def __missing__(self, key: str) -> str:
        return f"<{key}>".replace("<", "‹").replace(">", "›")

"""The settings as a person reads them: docs/settings.md, the help of an option, the table of what is in force.

Rule: everything here is derived from the fields of `Settings`. No setting is named in this file, except where
what it holds is a secret.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import ByteSize

from server.settings import PREFIX, Settings
from server.settings.shown import config_file, masked, sources, text
from server.settings.shown import default as default
from server.settings.shown import mask as mask
from server.settings.shown import variable as variable

_HEAD = f"""# Settings

<!-- Made by `videodock settings --markdown` from server/settings/; change it there. -->

Each setting can be given in four places. The first that has it counts:

1. an option of `videodock serve` (and of the other commands that it concerns), such as `--port 9000`;
2. an environment variable, `{PREFIX}` and the name in capitals, such as `{PREFIX}PORT=9000`;
3. the TOML file that `{PREFIX}CONFIG` names, else `videodock.toml` in the working directory;
4. the default.

Sizes take bytes or a unit: `838860800`, `800MiB` and `0.8GB` are sizes; `MiB` counts in 1024, `MB` in 1000.
Times are in seconds. Lists are separated by commas; in TOML they may also be arrays. A wrong value stops the
start with a sentence that names it; a variable that begins with `{PREFIX}` and is not a setting is named in a
warning. `videodock settings` shows the values in force and where they come from.
"""

_FOOT = """## As a file

Every setting with its default; leave out what you do not change.

```toml
"""


def option(name: str) -> str:
    """The command line's option for a setting."""
    return "--" + name.replace("_", "-")


def unit(name: str) -> str:
    """The unit of a setting: `bytes`, `seconds`, `pixels`, or an empty text for a plain number or text."""
    field = Settings.model_fields[name]
    if field.annotation is ByteSize:
        return "bytes"
    if re.match(r"Seconds\b", field.description or ""):
        return "seconds"
    return "pixels" if "in pixels" in (field.description or "") else ""


def allowed(name: str) -> str:
    """The values of a setting, in a few characters: names, or the form and bounds of a number."""
    field = Settings.model_fields[name]
    if get_origin(field.annotation) is Literal:
        return "|".join(get_args(field.annotation))
    kinds: dict[Any, str] = {int: "N", float: "N", ByteSize: "SIZE", Path: "PATH", tuple: "LIST"}
    return kinds.get(get_origin(field.annotation) or field.annotation, "TEXT")


def help_text(name: str) -> str:
    """What `--help` says of a setting."""
    description = (Settings.model_fields[name].description or "").replace("`", "")
    return f"{description}  [env: {variable(name)}; default: {default(name) or 'empty'}]"


def groups() -> Iterator[tuple[str, list[str]]]:
    """Title and names of each group, in the order of the fields."""
    title, names = "", list[str]()
    for name in Settings.model_fields:
        if name in Settings.GROUPS:
            if names:
                yield title, names
            title, names = Settings.GROUPS[name], []
        names.append(name)
    yield title, names


def markdown() -> str:
    """The whole of docs/settings.md."""
    parts = [_HEAD]
    for title, names in groups():
        parts.append(f"## {title}\n\n| setting | unit | default | what it is |\n| --- | --- | --- | --- |\n")
        parts[-1] += "".join(_row(name) for name in names)
    lines = []
    for title, names in groups():
        lines += [f"# {title}", *(f"{name} = {_toml(Settings.model_fields[name].default)}" for name in names), ""]
    return "\n".join(parts) + "\n" + _FOOT + "\n".join(lines).rstrip() + "\n```\n"


def _row(name: str) -> str:
    words = get_args(Settings.model_fields[name].annotation) if "|" in allowed(name) else ()
    described = (Settings.model_fields[name].description or "") + (f" One of {', '.join(words)}." if words else "")
    shown = f"`{default(name)}`" if default(name) else "empty"
    return f"| `{name}`<br>`{variable(name)}`<br>`{option(name)}` | {unit(name)} | {shown} | {described} |\n"


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{part}"' for part in value) + "]"
    if isinstance(value, (int, float)) and not isinstance(value, ByteSize):
        return f"{value:g}" if isinstance(value, float) else str(value)
    return f'"{text(value)}"'


def table(settings: Settings, environ: Mapping[str, str]) -> str:
    """The settings in force: value, and the place where each was set, or could be. Secrets are masked."""
    places = sources(settings, environ)
    rows = [("SETTING", "VALUE", "SET BY", "VARIABLE")]
    for name in Settings.model_fields:
        source = f"file {config_file(environ)}" if places[name] == "file" else places[name]
        value = text(getattr(settings, name))
        rows.append((name, masked(name, value), source, variable(name)))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)).rstrip() for row in rows
    )

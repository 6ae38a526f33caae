"""docs/architecture.md is true: its tree is the one on the disk, and its floors are those that import-linter checks."""

import ast
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text()
WORDS = 10
GENERATED = frozenset({"__pycache__", "dist", "node_modules"})
"""Folders that git does not have: compiled modules, the built page, and the npm packages that build it."""


def block(name: str) -> list[str]:
    """The lines of the page's fenced block of this name."""
    (found,) = re.findall(rf"^```{name}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(found).splitlines()


def documented() -> dict[str, str]:
    """The phrase of each path below `server/`; a folder's path ends in a slash."""
    first, *lines = block("tree")
    assert first == "server/"
    found: dict[str, str] = {}
    folders: list[str] = []
    for line in lines:
        match = re.fullmatch(r"((?:  )+)(\S+) {2,}(\S.*)", line)
        assert match, f"not a line of the tree: {line!r}"
        depth = len(match[1]) // 2
        path = "".join(folders[: depth - 1]) + match[2]
        assert path not in found, f"{path} is there twice"
        found[path] = match[3]
        if path.endswith("/"):
            folders = [*folders[: depth - 1], match[2]]
    return found


def says_only_its_rule(init: Path) -> bool:
    """Whether an `__init__.py` has nothing but one line of docstring, for which its folder's line stands."""
    tree = ast.parse(init.read_text())
    return len(tree.body) <= 1 and "\n" not in (ast.get_docstring(tree) or "")


def real() -> set[str]:
    """Every file and folder of the package that a reader opens."""
    top = ROOT / "server"
    found = set()
    for path in top.rglob("*"):
        is_room = path.is_dir() and any(each.is_file() for each in path.iterdir())
        if not GENERATED.isdisjoint(path.relative_to(top).parts) or (
            path.name == "__init__.py" and says_only_its_rule(path)
        ):
            continue
        if is_room or path.is_file():
            found.add(str(path.relative_to(top)) + "/" * is_room)
    return found


def layers() -> list[str]:
    """The layers of import-linter's first contract, from the top."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (contract,) = [each for each in project["tool"]["importlinter"]["contracts"] if each["type"] == "layers"]
    return list(contract["layers"])


def test_each_file_of_the_tree_is_on_the_page() -> None:
    """A file that is added or moved needs a line in docs/architecture.md."""
    assert sorted(real() - set(documented())) == []


def test_each_line_of_the_page_is_a_file() -> None:
    """A file that is removed or moved leaves no line in docs/architecture.md."""
    assert sorted(set(documented()) - real()) == []


def test_each_phrase_is_short() -> None:
    """A phrase that needs more than ten words describes a file that does too much."""
    assert {path: phrase for path, phrase in documented().items() if len(phrase.split()) > WORDS} == {}


def test_the_floors_are_those_of_import_linter() -> None:
    """The page names the layers of pyproject.toml, in their order."""
    assert block("floors") == layers()


def test_every_module_at_the_top_has_a_floor() -> None:
    """No module lies at the top of `server/` but those that the floors name."""
    top = {path.rstrip("/").removesuffix(".py") for path in real() if "/" not in path.rstrip("/")}
    floors = {name for layer in layers() for name in layer.split(" : ")}
    assert top - {"__init__", "py.typed"} == floors

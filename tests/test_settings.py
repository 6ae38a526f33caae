"""Settings: where they come from, what they may be, and what a wrong one is told."""

import os
import tomllib
from pathlib import Path
from typing import Any

import pytest

from server.cli import settings_docs
from server.errors import StartError
from server.settings import Settings, load, unknown_variables


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable and no file of the machine that runs the tests counts."""
    for name in os.environ:
        if name.upper().startswith("VIDEODOCK_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def refusal(**given: Any) -> str:
    with pytest.raises(StartError) as caught:
        load(**given)
    return str(caught.value)


def test_the_command_line_comes_before_environment_file_and_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Command line before environment before file before default."""
    assert load().port == 8000
    (tmp_path / "videodock.toml").write_text("port = 8001\n")
    assert load().port == 8001
    (tmp_path / "other.toml").write_text("port = 8002\n")
    monkeypatch.setenv("VIDEODOCK_CONFIG", "other.toml")
    assert load().port == 8002
    monkeypatch.setenv("VIDEODOCK_PORT", "8003")
    assert load().port == 8003
    assert load(port="8004").port == 8004


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("max_file_size", "800MiB", 800 << 20),
        ("max_file_size", "838860800", 838860800),
        ("max_file_size", "0.8GB", 800_000_000),
        ("trusted_proxies", "", ()),
        ("trusted_proxies", "*", ("*",)),
        ("trusted_proxies", "10.0.0.0/8, ::1", ("10.0.0.0/8", "::1")),
        ("accept_types", "Default, .TS", ("default", "ts")),
        ("cors_origins", "https://a.example,http://b.example:8080", ("https://a.example", "http://b.example:8080")),
        ("root_path", "/video/x", "/video/x"),
        ("database_url", "postgres://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("data_dir", "/srv/../srv/videodock", Path("/srv/../srv/videodock")),
    ],
)
def test_values_are_parsed_alike_from_environment_and_command_line(
    name: str, given: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text is understood alike from the environment and from the command line."""
    assert getattr(load(**{name: given}), name) == value
    monkeypatch.setenv("VIDEODOCK_" + name.upper(), given)
    assert getattr(load(), name) == value


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("port", "http", "VIDEODOCK_PORT) is 'http', which is not possible: it must be a whole number"),
        ("owner_limit", "-1", "The setting owner_limit (--owner-limit, VIDEODOCK_OWNER_LIMIT) is '-1', which is not "),
        ("owner_limit", "-1", "which is not possible: it must be a whole number, at least 0."),
        ("owner_limit", "two", "is 'two', which is not possible: it must be a whole number, at least 0."),
        ("port", "70000", "at least 0, at most 65535"),
        ("workers", "0", "at least 1, at most 256"),
        ("accept", "audio", "'video' or 'any'"),
        ("root_path", "video", "it begins with /"),
        ("trusted_proxies", "10.0.0.1/8", "has host bits set"),
        ("cors_origins", "https://a.example/", "without a path"),
        ("accept_types", "default,exe", "'exe' is not known; choose of default, all, mp4"),
        ("accept_types", "", "at least one type"),
        ("max_file_size", "much", "a size in bytes or with a unit, such as 800MiB"),
        ("colour", "red", "colour: there is no such setting"),
    ],
)
def test_a_wrong_value_is_named(name: str, given: str, expected: str) -> None:
    """The sentence names the setting, the value and what is allowed."""
    assert expected in refusal(**{name: given})


def test_all_wrong_values_are_named_at_once() -> None:
    """Two mistakes, two lines."""
    assert len(refusal(port="x", workers="y").splitlines()) == 2


@pytest.mark.parametrize(
    "url",
    [
        "mysql://user:hunter2@host/videodock",
        "mysql://user:hun@ter2/hunter2@host/videodock",
        "user:hunter2@host",
        "postgresql+asyncpg:user:hunter2@host",
        "mysql://host/videodock?password=hunter2",
        "hunter2",
    ],
)
def test_a_password_is_never_shown(url: str) -> None:
    """A database URL that is refused is shown by its scheme at most."""
    sentence = refusal(database_url=url)
    assert "VIDEODOCK_DATABASE_URL) is " in sentence
    assert "starts with sqlite:/// or postgresql://" in sentence
    assert not any(part in sentence for part in ("hunter2", "ter2", "user", "host"))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("port = ", "cannot be read"),
        ("colour = 'red'", "colour: there is no such setting"),
        ("port = 'http'", "VIDEODOCK_PORT) is 'http'"),
        ("[database_url]\npassword = 'hunter2'", "not shown"),
    ],
)
def test_an_invalid_settings_file_is_refused(content: str, expected: str, tmp_path: Path) -> None:
    """A file that is no TOML, or has what is no setting, is refused with a sentence."""
    (tmp_path / "videodock.toml").write_text(content)
    sentence = refusal()
    assert expected in sentence
    assert "hunter2" not in sentence


def test_a_missing_settings_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """VIDEODOCK_CONFIG must name a file."""
    monkeypatch.setenv("VIDEODOCK_CONFIG", "nowhere.toml")
    assert "there is no such file" in refusal()


def test_misspelt_variables_are_reported() -> None:
    """What looks like a setting and is none is named."""
    environ = {"VIDEODOCK_PROT": "1", "VIDEODOCK_PORT": "1", "VIDEODOCK_CONFIG": "x", "PATH": "y"}
    assert unknown_variables(environ) == ["VIDEODOCK_PROT"]


def test_the_settings_page_is_up_to_date() -> None:
    """docs/settings.md is what `videodock settings --markdown` prints."""
    page = Path(__file__).parents[1] / "docs" / "settings.md"
    assert page.read_text("utf-8") == settings_docs.markdown()


def test_the_example_file_is_the_defaults(tmp_path: Path) -> None:
    """The TOML of the page loads, has every setting, and changes none."""
    example = settings_docs.markdown().partition("```toml\n")[2].partition("```")[0]
    assert list(tomllib.loads(example)) == list(Settings.model_fields)
    plain = load()
    (tmp_path / "videodock.toml").write_text(example)
    assert load() == plain


def test_every_setting_is_explained() -> None:
    """Each setting stands in a group, and has a description, an option and, if it is a quantity, a unit."""
    grouped = [name for _, names in settings_docs.groups() for name in names]
    assert grouped == list(Settings.model_fields)
    assert len(list(settings_docs.groups())) == len(Settings.GROUPS)
    for name, field in Settings.model_fields.items():
        assert field.description
        assert f"[env: VIDEODOCK_{name.upper()}; default: " in settings_docs.help_text(name)
        if name.endswith(("_size", "_limit")) and settings_docs.allowed(name) in ("SIZE", "N"):
            counted = ("Connections", "Tasks")
            assert settings_docs.unit(name) or str(field.description).startswith(counted)
        assert settings_docs.unit(name) == "seconds" or field.annotation is not float


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("", ""),
        ("sqlite:////srv/a.db", "sqlite:////srv/a.db"),
        ("postgresql+psycopg://host/d", "postgresql+psycopg://host/d"),
        ("postgresql+psycopg://u@host/d", "postgresql+psycopg://u@host/d"),
        ("postgresql+psycopg://u:p:a@s/s@host/d", "postgresql+psycopg://u:***@host/d"),
        ("postgresql+psycopg://host/d?user=u&password=p&x=1", "postgresql+psycopg://host/d?user=u&password=***&x=1"),
    ],
)
def test_passwords_are_masked_in_the_table(url: str, masked: str) -> None:
    """A URL is shown without its password."""
    assert settings_docs.mask(url) == masked


def test_the_table_shows_the_origin_of_each_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Environment, file or default, and the value that is in force."""
    (tmp_path / "videodock.toml").write_text("workers = 3\nport = 1\n")
    monkeypatch.setenv("VIDEODOCK_PORT", "2")
    monkeypatch.setenv("VIDEODOCK_DATABASE_URL", "postgresql://u:hunter2@h/d")
    rows = {line.split()[0]: line.split() for line in settings_docs.table(load(), os.environ).splitlines()}
    assert rows["port"] == ["port", "2", "environment", "VIDEODOCK_PORT"]
    assert rows["workers"] == ["workers", "3", "file", "videodock.toml", "VIDEODOCK_WORKERS"]
    assert rows["accept"] == ["accept", "video", "default", "VIDEODOCK_ACCEPT"]
    assert rows["database_url"][1] == "postgresql+psycopg://u:***@h/d"

"""Every code has its sentence in both languages, and every reader gets theirs."""

import ast
import re
import string
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from server import errors
from server.errors import StartError, StepError, VideodockError
from server.messages import (
    CODES,
    Language,
    Param,
    access,
    documented_api,
    downloads,
    events,
    negotiate,
    processing,
    requests,
    sentence,
    size,
)
from server.messages.reasons import PARTS, REASONS
from server.messages.sentences import _SIZES, SENTENCES

SERVER = Path(errors.__file__).parent.parent
# The words of the documented API.
DOCUMENTED = {
    "upload_accepted": "视频上传成功",
    "task_uploaded": "文件上传完成，准备处理",
    "task_processing": "正在处理第 {current}/{total} 个视频...",
    "task_completed": "处理完成",
    "task_cancelled": "任务已取消",
    "task_not_found": "任务不存在",
}


def kinds(base: type[VideodockError] = VideodockError) -> list[type[VideodockError]]:
    """Every class of the tree."""
    return [base, *(kind for below in base.__subclasses__() for kind in kinds(below))]


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("kind", [kind for kind in kinds() if not issubclass(kind, StartError | StepError)])
def test_every_error_has_sentences(kind: type[VideodockError]) -> None:
    """The code of every error of the tree is a known one."""
    assert kind.code in CODES
    assert 400 <= kind.status <= 599


def test_every_code_in_the_sources_has_sentences() -> None:
    """Whatever is raised as a step's error or looked up as a sentence by a literal code is a known code."""
    used: dict[str, str] = {}
    for path in sorted(SERVER.rglob("*.py")):
        text = path.read_text()
        for pattern in (r"StepError\(\s*\"(\w+)\"", r"Failure\(\s*\"(\w+)\"", r"sentence\(\s*f?\"(\w+)\""):
            used |= dict.fromkeys(re.findall(pattern, text), path.name)
    assert len(used) > 5
    unknown = {code: name for code, name in used.items() if code not in CODES and not code.endswith("_")}
    assert unknown == {}


def test_the_list_of_errors_has_every_code_and_status() -> None:
    """The list at the top of `server/errors` has every code with its status."""
    drawn = dict(re.findall(r"(\w+) +(\d{3})(?:  |$)", errors.__doc__ or "", re.MULTILINE))
    leaves = {
        kind.code: str(kind.status)
        for kind in kinds()
        if not kind.__name__.startswith("_")
        and kind.__name__ not in ("VideodockError", "ClientError", "BusyError")
        and not issubclass(kind, StartError | StepError)
    }
    assert drawn == leaves


def test_a_code_is_in_one_table_only() -> None:
    """A second sentence for a code would silently replace the first."""
    tables = (access, documented_api, requests, downloads, processing, events)
    assert sum(len(table.SENTENCES) for table in tables) == len(CODES)


@pytest.mark.parametrize("code", sorted(CODES))
def test_both_languages_take_the_same_parameters(code: str) -> None:
    """Both are there, take the same parameters, and are not each other."""
    chinese, english = SENTENCES[code]
    assert fields(chinese) == fields(english)
    assert re.search(r"[\u4e00-\u9fff]", chinese)
    assert not re.search(r"[\u4e00-\u9fff]", english)
    sizes = _SIZES.get(code, ())
    assert {*sizes} <= fields(chinese)
    given = {name: "7 B" if name in sizes else 7 for name in fields(chinese)}
    for language, text in (("zh", chinese), ("en", english)):
        made = sentence(code, dict.fromkeys(fields(chinese), 7), language)  # type: ignore[arg-type]
        assert made == text.format(**given)
        assert "{" not in made


@pytest.mark.parametrize("code", DOCUMENTED)
def test_the_documented_chinese_sentences_are_unchanged(code: str) -> None:
    """The Chinese sentences of the documented API are a contract."""
    assert SENTENCES[code][0] == DOCUMENTED[code]
    assert SENTENCES["task_error"][0].startswith("处理出错")


def test_a_missing_parameter_is_shown_as_a_question_mark() -> None:
    """A parameter that is missing stands as `?`; parameters are text, not formats."""
    assert sentence("task_processing", {"current": 1}, "en") == "Processing video 1 of ?..."
    assert "{total}" in sentence("header_missing", {"name": "{total}"}, "en")
    assert sentence("no_such_code", {}, "en")


NEGOTIATED: dict[str | None, tuple[Language, Language]] = {
    # what the reader says: the language where the default is zh, and where it is en
    None: ("zh", "en"),
    "": ("zh", "en"),
    "*": ("zh", "en"),
    "fr": ("zh", "en"),
    "fr, de;q=0.5": ("zh", "en"),
    "en": ("en", "en"),
    "EN-us": ("en", "en"),
    "zh": ("zh", "zh"),
    "zh-Hans-CN": ("zh", "zh"),
    "zh-TW,zh;q=0.9,en;q=0.8": ("zh", "zh"),
    "en-GB,en;q=0.9,zh;q=0.8": ("en", "en"),
    "fr, en;q=0.1": ("en", "en"),
    "zh;q=0.2, en;q=0.3": ("en", "en"),
    "en;q=0.3 , zh; q=0.4": ("zh", "zh"),
    "zh;q=0, en;q=0.1": ("en", "en"),
    "en;q=0": ("zh", "en"),
    "en, zh": ("en", "en"),
    "zh, en": ("zh", "zh"),
    "english": ("zh", "en"),
    "en;q=abc, zh;q=0.1": ("zh", "zh"),
    ",,;;=,": ("zh", "en"),
    "en;q=nan, zh;q=0.5": ("zh", "zh"),
    "en;q=-1, zh;q=0.5": ("zh", "zh"),
}


@pytest.mark.parametrize("accepted", NEGOTIATED)
def test_the_language_follows_accept_language(accepted: str | None) -> None:
    """The best of zh and en by Accept-Language, else the default."""
    zh, en = NEGOTIATED[accepted]
    assert negotiate(accepted, "zh") == zh
    assert negotiate(accepted, "en") == en


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        ((1 << 30) - 1, "1.0 GiB"),
        ((1 << 30) - (1 << 20), "1023 MiB"),
        (1536, "1.5 KiB"),
        (800 << 20, "800 MiB"),
        (10 << 30, "10 GiB"),
        ((10 << 30) + 1, "10.0 GiB"),
        (1 << 41, "2048 GiB"),
    ],
)
def test_sizes_are_written_for_people(number: int, text: str) -> None:
    """A number of bytes as a person writes it."""
    assert size(number) == text


@pytest.mark.parametrize("texts", [*REASONS.items(), *PARTS.items()], ids=lambda item: item[0])
def test_each_reason_has_a_sentence_in_each_language(texts: tuple[str, tuple[str, str]]) -> None:
    """A reason has a sentence in each language, with the same parameters."""
    chinese, english = texts[1]
    assert fields(chinese) == fields(english)
    assert re.search(r"[\u4e00-\u9fff]", chinese)
    assert not re.search(r"[\u4e00-\u9fff]", english)


def test_a_reason_has_the_language_of_its_sentence() -> None:
    """A Chinese refusal gives its reason in Chinese."""
    params: dict[str, Param] = {"name": "Upload-Length", "reason": "length_short", "offset": 7}
    assert sentence("header_invalid", params, "zh") == "请求头 Upload-Length 无效：服务器已有 7 字节，长度不能更小"
    assert sentence("unavailable", {"part": "database"}, "zh") == "服务暂时不可用（数据库），请稍后重试"
    # The key is data of the client: it is neither a reason nor a template.
    key: dict[str, str | int | float] = {"reason": "metadata_repeated", "key": "header_method{reason}"}
    assert "header_method{reason}" in sentence("metadata_invalid", key, "en")


class Raise(NamedTuple):
    """A call in the sources that makes an error."""

    place: str
    kind: str
    parameters: dict[str, ast.expr]
    constants: dict[str, str]

    def literals(self, value: ast.expr) -> set[str]:
        """The texts that are written in this expression or in the constants that it names."""
        nodes = list(ast.walk(value))
        written = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        return written | {self.constants[n.id] for n in nodes if isinstance(n, ast.Name) and n.id in self.constants}


def raises() -> Iterator[Raise]:
    """Every call in `server/` that makes an error whose sentence a client reads."""
    names = {kind.__name__ for kind in kinds()} - {"StartError"}
    for path in sorted(SERVER.rglob("*.py")):
        tree = ast.parse(path.read_text())
        nodes = list(ast.walk(tree))
        constants = {
            target.id: node.value.value
            for node in nodes
            if isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in nodes:
            if not isinstance(node, ast.Call):
                continue
            made = {part.id for part in ast.walk(node.func) if isinstance(part, ast.Name)} & names
            for kind in made:
                parameters = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
                yield Raise(f"{path.relative_to(SERVER)}:{node.lineno}", kind, parameters, constants)


def test_no_parameter_is_a_sentence() -> None:
    """A reason is a code with its parameters; no other parameter has words of a language in it."""
    found = list(raises())
    assert len(found) > 80
    for each in found:
        for name, value in each.parameters.items():
            if name == "reason":
                assert isinstance(value, ast.Constant), each.place
                assert value.value in REASONS, each.place
                needed = fields(REASONS[str(value.value)][0])
                assert needed <= each.parameters.keys(), each.place
            elif each.kind == "UnavailableError":
                assert each.literals(value) <= PARTS.keys(), each.place
            else:
                sentences = [text for text in each.literals(value) if re.search(r"[a-z]+ [a-z]+", text)]
                assert sentences == [], each.place

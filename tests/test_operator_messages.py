"""What an operator reads is there in Chinese as well as in English, and says the same."""

import re
import string
from collections.abc import Iterator
from pathlib import Path

import server
from server.doctor.catalogue import CATALOGUE
from server.doctor.findings import Check, Finding
from server.messages import templates
from server.messages.doctor import CHECKS, FINDINGS
from server.messages.language import Texts
from server.messages.phrases import PHRASES, Phrase, spoken
from server.messages.reasons import PARTS, REASONS
from server.messages.sentences import SENTENCES
from server.messages.settings import CHINESE
from server.settings import Settings
from tests.test_messages import DOCUMENTED

SERVER = Path(server.__file__).parent
CJK = "[\u4e00-\u9fff]"
HALF_SET = re.compile(
    f"{CJK}[,;:!?()]|[,;:!?()]{CJK}|{CJK}[A-Za-z0-9`{{]|[A-Za-z0-9`}}]{CJK}|  | [，。：；（）、]|[，。：；（）、] "
)
# The Chinese text says it itself, where the English one quotes what the start of a server would say.
QUOTED = ("exposed.text", "database_revision.text", "ffmpeg_missing.text")


def names(text: str) -> set[str]:
    """The names, values and examples in backticks, which no language translates."""
    return set(re.findall(r"`([^`]+)`", text))


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def used(pattern: str) -> set[str]:
    """What the sources of the server have in the group of `pattern`."""
    return {found for path in SERVER.rglob("*.py") for found in re.findall(pattern, path.read_text())}


def texts() -> Iterator[tuple[str, Texts]]:
    """Every text for an operator, with a name for a failure."""
    for code, said in FINDINGS.items():
        yield f"{code}.text", said.text
        yield f"{code}.change", said.change
    yield from PHRASES.items()
    for name, field in Settings.model_fields.items():
        yield name, (CHINESE[name], field.description or "")


def test_every_setting_is_described_in_chinese() -> None:
    """Each field of the settings has a Chinese description, and no description is left of a field that is gone."""
    assert CHINESE.keys() == Settings.model_fields.keys()


def test_every_finding_has_its_texts() -> None:
    """Each code of the doctor has what is wrong and what to change, in both languages; no text is left over."""
    assert FINDINGS.keys() == CATALOGUE.keys()


def test_every_check_of_the_doctor_has_a_title() -> None:
    """Each name of a check in the sources is in the table, and each of the table in the sources."""
    assert used(r"report\.check\(\"(\w+)\"\)") == CHECKS.keys()


def test_every_phrase_that_is_used_is_in_the_table() -> None:
    """Each code of a phrase in the sources has its texts, and each text is used."""
    assert used(r"(?:Phrase\.of|\.skip)\(\s*\"(\w+)\"") == PHRASES.keys()


def test_both_languages_say_the_same() -> None:
    """Both take the same parameters and name the same settings; neither has a phrase of the other language."""
    for name, (chinese, english) in texts():
        assert fields(english) - fields(chinese) == ({"reason"} if name in QUOTED else set()), name
        assert fields(chinese) - fields(english) == ({"expected"} if name in QUOTED[1:2] else set()), name
        assert names(chinese) == names(english), name
        assert re.search(CJK, chinese), name
        assert not re.search(CJK, english), name


def test_chinese_is_set_as_chinese() -> None:
    """Full-width punctuation after a Chinese character, and a space between it and a Latin letter or a digit."""
    both = [*texts(), *SENTENCES.items(), *REASONS.items(), *PARTS.items(), *CHECKS.items()]
    wrong = [chinese for name, (chinese, _) in both if name not in DOCUMENTED and HALF_SET.search(chinese)]
    assert wrong == []


def test_a_finding_is_in_the_language_of_its_reader() -> None:
    """A phrase and a sentence within a finding are translated with it; what the system said is quoted."""
    aside = Finding("tasks_set_aside", {"number": 2, "reason": Phrase.made(templates("scanner_away"), {})})
    assert aside.text("zh") == "有 2 个任务已推迟：病毒扫描程序暂时不可用。"
    assert aside.text() == "2 tasks are postponed: The virus scanner is temporarily unavailable."
    said = Finding("store_unusable", {"reason": "Permission denied."})
    assert said.text("zh") == "上传存储无法使用：Permission denied."


def test_a_note_is_in_the_language_of_its_reader() -> None:
    """A skipped check says why in both languages; a phrase is its English text to a monitor."""
    check = Check("clock")
    check.skip("no_date")
    assert check.note == "the answers have no Date"
    assert (check.title("zh"), spoken(check.note, "zh")) == ("服务器时钟", "响应中没有 Date")
    assert spoken("/srv/videodock", "zh") == "/srv/videodock"

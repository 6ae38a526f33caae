"""What the doctor finds: checks, and the findings of each.

Rule: a finding is a code of `catalogue.py` and its parameters; sentences are made from them when they are shown, in the
language of the reader. What the system or another program said is quoted as it said it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from server.doctor.catalogue import CATALOGUE, Level
from server.messages import Language
from server.messages.doctor import CHECKS, FINDINGS
from server.messages.language import choose
from server.messages.phrases import Phrase, in_language

Param = str | int | float


class CheckEndedError(Exception):
    """The check cannot go on; its findings say why."""


class VisitEndedError(CheckEndedError):
    """No check from outside can go on."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or could be better."""

    code: str
    params: Mapping[str, Param] = field(default_factory=dict)

    @property
    def level(self) -> Level:
        """How much it matters."""
        return CATALOGUE[self.code].level

    def text(self, language: Language = "en") -> str:
        """What is wrong, in a sentence."""
        return choose(language, FINDINGS[self.code].text).format_map(_Lenient(self.params, language))

    def change(self, language: Language = "en") -> str:
        """What to change, in a sentence."""
        return choose(language, FINDINGS[self.code].change).format_map(_Lenient(self.params, language))

    def directives(self, proxy: str | None) -> dict[str, str]:
        """The lines of a proxy's configuration that help, by its name; those of all where `proxy` is not known."""
        known = CATALOGUE[self.code].directives
        chosen = {proxy: known[proxy]} if proxy is not None and proxy in known else known
        return {name: line.format_map(_Lenient(self.params)) for name, line in chosen.items()}


@dataclass
class Check:
    """One check, by the name of what it is about; `note` is what an operator may want to know of it anyway: a path or a
    name as it is, everything else as a phrase."""

    name: str
    findings: list[Finding] = field(default_factory=list)
    note: str = ""
    skipped: bool = False

    @property
    def state(self) -> str:
        """`problem`, `advice`, `skipped` or `ok`."""
        levels = {finding.level for finding in self.findings}
        if Level.PROBLEM in levels:
            return "problem"
        if levels:
            return "advice"
        return "skipped" if self.skipped else "ok"

    def title(self, language: Language) -> str:
        """What it is about, for a heading."""
        return choose(language, CHECKS[self.name])

    def find(self, code: str, **params: Param) -> None:
        """Add a finding, once."""
        finding = Finding(code, params)
        if finding not in self.findings:
            self.findings.append(finding)

    def skip(self, why: str, **params: Param) -> None:
        """Say by the code of a phrase that it was not looked at."""
        self.skipped, self.note = True, Phrase.of(why, **params)


@dataclass
class Report:
    """All checks, in their order. `proxy` is nginx, haproxy or caddy, where one has been recognised."""

    checks: list[Check] = field(default_factory=list)
    proxy: str | None = None

    @contextmanager
    def check(self, name: str) -> Iterator[Check]:
        """One check. An `OSError` in it becomes a finding; `VisitEndedError` passes."""
        made = Check(name)
        self.checks.append(made)
        try:
            yield made
        except VisitEndedError:
            raise
        except CheckEndedError:
            pass
        except OSError as error:
            made.find("no_answer", reason=_reason(error))

    @property
    def findings(self) -> list[Finding]:
        """All of them."""
        return [finding for check in self.checks for finding in check.findings]

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong; advice does not count."""
        return all(finding.level is not Level.PROBLEM for finding in self.findings)


def _reason(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return Phrase.of("silence")
    return error.strerror or str(error) or type(error).__name__


class _Lenient(dict[str, Param]):
    def __init__(self, params: Mapping[str, Param], language: Language = "en") -> None:
        super().__init__(in_language(params, language))
        self._default = getattr(params, "__missing__", None)

    def __missing__(self, key: str) -> Param:
        return "?" if self._default is None else self._default(key)

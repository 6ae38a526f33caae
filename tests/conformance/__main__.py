"""`python -m tests.conformance URL`: run the cases against a server and print what became of each.

Exit code: 0 when every case passed or was not offered, 1 when one failed, 2 when the URL cannot be tested.
"""

import argparse
import fnmatch
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence

from tests.conformance.case import Case
from tests.conformance.cases import CASES
from tests.conformance.features import UnusableError, look
from tests.conformance.rules import RULES
from tests.conformance.runner import FAIL, JOBS, NOT_OFFERED, PASS, SECONDS, Result, run

_EPILOG = "Every case makes uploads of its own, up to 1 MiB each, and leaves what it does not have to remove."


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _parser().parse_args(arguments)
    cases = _chosen(options.only)
    if not cases:
        print(f"No case is named {' or '.join(options.only)}; --list names them all.", file=sys.stderr)
        return 2
    if options.list:
        _print_list(cases)
        return 0
    if options.url is None:
        print("A URL is needed, such as http://127.0.0.1:8000/files; --help says more.", file=sys.stderr)
        return 2
    try:
        target = look(options.url, tuple(options.header), options.timeout)
    except UnusableError as error:
        print(error, file=sys.stderr)
        return 2
    results = run(target, cases, seconds=options.timeout, jobs=options.jobs)
    if options.json:
        _print_json(options.url, results)
    else:
        _print_table(results)
    return int(any(result.outcome == FAIL for result in results))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m tests.conformance", description="Judge a tus 1.0 server from outside.", epilog=_EPILOG
    )
    parser.add_argument("url", nargs="?", help="where uploads are created, such as http://127.0.0.1:8000/files")
    parser.add_argument("--only", action="append", default=[], metavar="NAME",
                        help="a case, a topic, or a pattern such as 'patch-*'; may come again")  # fmt: skip
    parser.add_argument("--header", action="append", default=[], type=_header, metavar="'NAME: VALUE'",
                        help="a header for every request, such as Authorization; may come again")  # fmt: skip
    parser.add_argument("--timeout", type=_positive, default=SECONDS, metavar="SECONDS",
                        help="time limit of a case (%(default)g)")  # fmt: skip
    parser.add_argument("--jobs", type=_count, default=JOBS, metavar="N", help="cases at the same time (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--list", action="store_true", help="print the cases and the rules, and run nothing")
    return parser


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip() or "\n" in text or "\r" in text:
        raise argparse.ArgumentTypeError("it has the form 'Name: value'")
    return name.strip(), value.strip()


def _positive(text: str) -> float:
    if not float(text) > 0:
        raise argparse.ArgumentTypeError("it must be more than 0")
    return float(text)


def _count(text: str) -> int:
    if not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError("it must be from 1 to 64")
    return int(text)


def _chosen(only: Sequence[str]) -> list[Case]:
    return [
        case
        for case in CASES
        if not only or any(fnmatch.fnmatchcase(name, pattern) for name in (case.name, case.topic) for pattern in only)
    ]


def _print_list(cases: Iterable[Case]) -> None:
    _print_rows(((case.name, case.rule, case.shows) for case in cases), ("case", "rule", "what it shows"))
    print()
    for number, text in RULES.items():
        print(f"rule {number}: {text}")


def _print_table(results: Sequence[Result]) -> None:
    rows = []
    for result in results:
        case = result.case
        rows.append((case.name, result.outcome, case.rule, case.shows + (f" — {result.why}" if result.why else "")))
    _print_rows(rows, ("case", "result", "rule", "what it shows"))
    counts = Counter(result.outcome for result in results)
    print(f"\n{counts[PASS]} passed, {counts[FAIL]} failed, {counts[NOT_OFFERED]} not offered")


def _print_rows(rows: Iterable[tuple[str, ...]], titles: tuple[str, ...]) -> None:
    table = [titles, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(titles) - 1)]
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[-1]]))


def _print_json(url: str, results: Sequence[Result]) -> None:
    counts = Counter(result.outcome for result in results)
    cases = [
        {
            "case": result.case.name,
            "topic": result.case.topic,
            "rule": result.case.rule,
            "shows": result.case.shows,
            "result": result.outcome,
            "why": result.why,
        }
        for result in results
    ]
    totals = {"passed": counts[PASS], "failed": counts[FAIL], "not_offered": counts[NOT_OFFERED]}
    print(json.dumps({"url": url, **totals, "cases": cases}, ensure_ascii=False, indent=2))


if __name__ == "__main__":
    sys.exit(main())

"""All cases, by topic, in the order in which they are told.

Rule: a case's name is unique and stays what it is: it is what people quote.
"""

from collections.abc import Iterator
from dataclasses import replace

from tests.conformance.case import Case
from tests.conformance.cases import (
    checksum,
    clients,
    concatenation,
    core,
    creation,
    cross_origin,
    downloads,
    robustness,
    termination,
    types,
)

TOPICS: dict[str, tuple[Case, ...]] = {
    "core protocol": core.CASES,
    "creation": creation.CASES_CREATION,
    "creation-with-upload": creation.CASES_WITH_UPLOAD,
    "creation-defer-length": creation.CASES_DEFERRED,
    "expiration": creation.CASES_EXPIRATION,
    "termination": termination.CASES,
    "checksum": tuple(case for case in checksum.CASES if case.needs != checksum.TRAILER),
    "checksum-trailer": tuple(case for case in checksum.CASES if case.needs == checksum.TRAILER),
    "concatenation": tuple(case for case in concatenation.CASES if case.needs != concatenation.UNFINISHED),
    "concatenation-unfinished": tuple(case for case in concatenation.CASES if case.needs == concatenation.UNFINISHED),
    "cross-origin": cross_origin.CASES,
    "robustness": robustness.CASES,
    "clients": clients.CASES,
    "types": types.CASES,
    "downloads": downloads.CASES,
}


def _all() -> Iterator[Case]:
    for topic, cases in TOPICS.items():
        for case in cases:
            yield replace(case, topic=topic)


CASES = tuple(_all())

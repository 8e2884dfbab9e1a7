"""The results of a test runner that writes JUnit's XML, as checks."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

from interop.suite.family import Check, Result

_RESULTS: tuple[tuple[str, Result], ...] = (("failure", "failed"), ("error", "failed"), ("skipped", "skipped"))


def read(report: Path) -> list[Check]:
    """One check for each test, named ``class.name``. A report that is not there is a failed check: the runner died."""
    if not report.exists():
        return [Check("report: there is one", "failed", "the test runner wrote no results")]
    return list(_checks(ET.parse(report).getroot()))


def _checks(root: ET.Element) -> Iterator[Check]:
    for case in root.iter("testcase"):
        name = ".".join(part for part in (case.get("classname"), case.get("name")) if part)
        yield check(name, case)


def check(name: str, case: ET.Element) -> Check:
    """What became of a test; ``case`` is its element."""
    for tag, result in _RESULTS:
        if (child := case.find(tag)) is not None:
            told = child.get("message") or child.text or ""
            return Check(name, result, told.strip())
    return Check(name, "passed")

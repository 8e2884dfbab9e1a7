"""Read what a program says: TAP, one line per check, ``scenario: check`` as description."""

import re
from collections.abc import Iterable

from interop.suite.family import Check, Result

SCENARIOS = (
    "connect",
    "auth-failure",
    "declare",
    "confirms",
    "mandatory-return",
    "consume",
    "get",
    "exclusive",
    "auto-delete",
    "exchange-bindings",
    "headers",
    "dead-letter",
    "ttl",
    "priority",
    "direct-reply-to",
    "large-message",
    "cancel-notify",
    "blocked",
    "recovery",
)

DIED = "report: it has an end"  # the check that fails when a program stopped before the end of its report

_LINE = re.compile(r"(?P<not>not )?ok\b\s*\d*\s*(?:- )?(?P<text>.*)")
_SKIP = re.compile(r"\s*# SKIP\b\s*(?P<reason>.*)", re.IGNORECASE)
_PLAN = re.compile(r"1\.\.(?P<count>\d+)")


def read(lines: Iterable[str]) -> list[Check]:
    """The checks of a report, followed by a failed one for whatever is wrong with the report.

    Wrong is: no plan at its end (the program died), a plan with another number, a scenario that is not in the list, and
    one of the list of which nothing is said.
    """
    checks: list[Check] = []
    planned: int | None = None
    for line in lines:
        if line.startswith("#") and checks and checks[-1].result == "failed":
            last = checks.pop()
            told = "\n".join(part for part in (last.explanation, line[1:].strip()) if part)
            checks.append(Check(last.name, "failed", told))
        elif plan := _PLAN.fullmatch(line.strip()):
            planned = int(plan["count"])
        elif match := _LINE.fullmatch(line.strip()):
            checks.append(_check(match["text"], failed=match["not"] is not None))
    return checks + list(_complaints(checks, planned))


def scenario_of(check: Check) -> str:
    """``connect`` of ``connect: channel opened``."""
    return check.name.partition(":")[0].strip()


def _check(text: str, *, failed: bool) -> Check:
    skip = _SKIP.search(text)
    if skip is None:
        return Check(text.strip(), "failed" if failed else "passed")
    result: Result = "failed" if failed else "skipped"
    return Check(text[: skip.start()].strip(), result, skip["reason"].strip() or "no reason given")


def _complaints(checks: list[Check], planned: int | None) -> Iterable[Check]:
    if planned is None:
        yield Check(DIED, "failed", "no plan (1..N): the program died")
        return  # what it would have said of the other scenarios nobody knows
    if planned != len(checks):
        yield Check("report: every check arrived", "failed", f"the plan is 1..{planned}, but {len(checks)} came")
    seen = dict.fromkeys(scenario_of(check) for check in checks)
    for name in SCENARIOS:
        if name not in seen:
            yield Check(f"{name}: reported", "failed", "the program says nothing of this scenario")
    for name in seen:
        if name not in SCENARIOS:
            yield Check(f"{name}: is a scenario", "failed", "interop/families/README.md does not have it")

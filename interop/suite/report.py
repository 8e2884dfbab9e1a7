"""What the suite shows: the table, what is to be read below it, and JSON."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.table import Table

from interop.suite.family import Check
from interop.suite.running import Row
from interop.suite.tap import scenario_of

Json = dict[str, Any]
NAMES_SHOWN = 5  # of checks with the same reason
SHOWN_CHARACTERS = 1500  # of what is told about one failed check


def line_of(row: Row) -> str:
    """One line about a family that is done."""
    if row.unavailable:
        return f"{row.family.name}: skipped: {row.unavailable}"
    verdict = f"{row.count('failed')} failed" if row.failures else "passed"
    return f"{row.family.name} {row.version}: {verdict}, {len(row.checks)} checks, {row.seconds:.0f} s"


def as_json(rows: Sequence[Row], broker: Mapping[str, str]) -> Json:
    """``{"broker": {...}, "families": [...]}``: everything that is known, check by check."""
    return {"broker": dict(broker), "families": [_family_as_json(row) for row in rows]}


def _family_as_json(row: Row) -> Json:
    return {
        "family": row.family.name,
        "language": row.family.language,
        "version": row.version,
        "unavailable": row.unavailable,
        "seconds": round(row.seconds, 1),
        "passed": row.count("passed"),
        "failed": row.count("failed"),
        "skipped": row.count("skipped"),
        "expected": [{"check": check, "reason": reason} for check, reason in row.expected.items()],
        "checks": [{"check": one.name, "result": one.result, "explanation": one.explanation} for one in row.checks],
    }


def has_failures(results: Json, *, complete: bool) -> bool:
    """Whether anything failed that no list has, on either broker; if it is to be ``complete``, or could not run."""
    if any(family["failed"] or (complete and family["unavailable"]) for family in results["families"]):
        return True
    return "against" in results and has_failures(results["against"], complete=complete)


def differing(families: Sequence[Json], others: Sequence[Json]) -> Iterator[str]:
    """A line for each check with another result on the other broker, and for each that is on one only."""
    there = {(family["family"], one["check"]): one["result"] for family in others for one in family["checks"]}
    names = {family["family"] for family in others}
    here = {
        (family["family"], one["check"]): one["result"]
        for family in families
        if family["family"] in names
        for one in family["checks"]
    }
    for key in here | there:
        left, right = here.get(key, "not made"), there.get(key, "not made")
        if left != right:
            yield f"differs: {key[0]}, {key[1]}: {left}, and there {right}"


def print_table(rows: Sequence[Row], console: Console, broker: str) -> None:
    """The table, then every failure, every expected failure and every skip with its reason."""
    table = Table(title=broker)
    for heading in ("family", "language", "client"):
        table.add_column(heading, no_wrap=True)
    for heading in ("checks", "passed", "failed", "expected", "skipped", "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*_cells(row))
    console.print(table)
    for row in rows:
        _print_notes(row, console)
    console.print(_closing(rows), highlight=False, markup=False)


def _cells(row: Row) -> list[str]:
    if row.unavailable:
        return [row.family.name, row.family.language, "not run", "", "", "", "", "", ""]
    counts = [row.count("passed"), row.count("failed"), len(row.expected), row.count("skipped")]
    total = len(row.checks) + len(row.expected)
    cells = [row.family.name, row.family.language, row.version, total, *counts, round(row.seconds)]
    return [str(cell) for cell in cells]


def _print_notes(row: Row, console: Console) -> None:
    lines = [f"  FAILED {check.name}: {check.explanation[:SHOWN_CHARACTERS]}" for check in row.failures]
    lines += [f"  expected: {check}: {reason}" for check, reason in row.expected.items()]
    lines += [f"  skipped: {some(names)}: {reason}" for reason, names in together(row.skips)]
    lines += [f"  {check.name}: {check.explanation}" for check in row.passed_but]
    if row.unavailable:
        lines.append(f"  not run: {row.unavailable}")
    if lines:
        console.print("\n".join([row.family.name, *lines]), highlight=False, markup=False, soft_wrap=True)


def together(checks: Iterable[Check]) -> list[tuple[str, list[str]]]:
    """Skips with the same reason stand together."""
    ordered = sorted(checks, key=lambda check: check.explanation)
    groups = groupby(ordered, key=lambda check: check.explanation)
    return [(reason, [scenario_of(check) for check in group]) for reason, group in groups]


def some(names: Sequence[str]) -> str:
    """The names, or the first of many."""
    told = list(dict.fromkeys(names))
    more = [f"{len(told) - NAMES_SHOWN} more"] if len(told) > NAMES_SHOWN + 1 else told[NAMES_SHOWN:]
    return ", ".join([*told[:NAMES_SHOWN], *more])


def _closing(rows: Sequence[Row]) -> str:
    """The last line, in the words of test runners."""
    counts = {result: sum(row.count(result) for row in rows) for result in ("passed", "failed", "skipped")}
    return ", ".join(f"{count} {result}" for result, count in counts.items())

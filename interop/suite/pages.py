"""The results of a run, written into the pages that show them, between two marks."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from interop.suite.family import Check
from interop.suite.report import Json, some, together

BEGIN, END = "<!-- begin: written by interop/run -->", "<!-- end: written by interop/run -->"
_BETWEEN = re.compile(f"(?<={re.escape(BEGIN)}\n).*?(?={re.escape(END)})", re.DOTALL)


def write(page: Path, text: str) -> None:
    """Put ``text`` between the marks of the page. Raises ValueError when it has none."""
    old = page.read_text(encoding="utf-8")
    if not _BETWEEN.search(old):
        raise ValueError(f"{page} has no place for the table: {BEGIN} and {END}")
    page.write_text(_BETWEEN.sub(lambda _match: f"\n{text}\n", old, count=1), encoding="utf-8")


def written(page: Path) -> str:
    """What stands between the marks; empty when there are none."""
    match = _BETWEEN.search(page.read_text(encoding="utf-8"))
    return match.group() if match else ""


def table(families: Sequence[Json]) -> str:
    """A row for each family: what was tested and the counts."""
    lines = [
        "| client | language | version | checks | passed | failed | skipped | seconds |",
        "|---|---|---|" + "--:|" * 5,
    ]
    return "\n".join([*lines, *(_row(family) for family in families)]) + "\n"


def _row(family: Json) -> str:
    total = len(family["checks"]) + len(family["expected"])
    failed = f"{family['failed']}" + (f" (and {len(family['expected'])} expected)" if family["expected"] else "")
    version = "not run" if family["unavailable"] else family["version"]
    cells = [family["family"], family["language"], version, total, family["passed"], failed, family["skipped"]]
    cells.append(round(family["seconds"]))
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def reasons(families: Sequence[Json]) -> str:
    """Why families were not run, checks skipped and failures expected, as a list."""
    return "\n".join(line for family in families for line in _reasons(family)) + "\n"


def _reasons(family: Json) -> Iterable[str]:
    name = family["family"]
    if family["unavailable"]:
        yield f"- {name}, not run: {family['unavailable']}"
    checks = [Check(one["check"], one["result"], one["explanation"]) for one in family["checks"]]
    for reason, names in together(check for check in checks if check.result == "skipped"):
        yield f"- {name}, skipped {_quoted(names)}: {reason}"
    for one in checks:
        if one.result == "passed" and one.explanation:
            yield f"- {name}, {one.name}: {one.explanation.splitlines()[0]}"
    expected: dict[str, list[str]] = {}
    for one in family["expected"]:
        expected.setdefault(one["reason"], []).append(one["check"])
    for reason, names in expected.items():
        yield f"- {name}, expected to fail {_quoted(names)}: {reason}"


def _quoted(names: Sequence[str]) -> str:
    return some([f"`{name}`" for name in names])

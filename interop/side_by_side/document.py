"""The list of intended differences in ``docs/compatibility.md``, made from the facts and from where they show.

``python -m interop.side_by_side.document`` writes it; ``tests/interop/test_compatibility.py`` says when it is stale.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from interop import conformance, facts
from interop.differences import FRAMES, INTENDED
from interop.suite.pytests import REPOSITORY

PAGE = REPOSITORY / "docs" / "compatibility.md"
BEGIN = "<!-- made by python -m interop.side_by_side.document -->\n"
END = "<!-- end -->\n"
EVERYWHERE = "*"


def made() -> str:
    """The list, a table for each area."""
    shown = shown_by()
    return "\n".join(_table(area, shown) for area in facts.AREAS)


def _table(area: str, shown: dict[str, list[str]]) -> str:
    rows = [
        f"| {fact.amqpd} | {fact.rabbitmq} | {fact.why} | {', '.join(shown[name])} |\n"
        for name, fact in facts.facts()
        if fact.area == area
    ]
    head = f"| amqpd | RabbitMQ {facts.RABBITMQ} | why | seen in |\n|---|---|---|---|\n"
    return f"### {area}\n\n{head}{''.join(rows)}"


def shown_by() -> dict[str, list[str]]:
    """For each fact the modules of rows and the programs in which it shows, in alphabetical order."""
    places: dict[str, set[str]] = defaultdict(set)
    names = {fact: name for name, fact in facts.facts()}
    for module in _modules():
        for fact in _marked(module):
            places[names[fact]].add(f"`{module.__name__.rpartition('.')[2]}`")
    for program, differences in INTENDED.items():
        for difference in differences:
            places[names[difference.fact]].add(f"`{program}`")
    for one in FRAMES:
        for scenario in one.scenarios:
            where = "every row" if scenario == EVERYWHERE else f"`{scenario.partition('.')[0]}`"
            places[names[one.fact]].add(where)
    return {name: sorted(found) for name, found in places.items()}


def _modules() -> Iterator[ModuleType]:
    assert conformance.__file__ is not None
    for file in sorted(Path(conformance.__file__).parent.glob("test_*.py")):
        yield import_module(f"{conformance.__name__}.{file.stem}")


def _marked(module: ModuleType) -> Iterator[facts.Fact]:
    """The facts of a module's ``differs`` marks, on tests and on single parameters."""
    for value in vars(module).values():
        for mark in getattr(value, "pytestmark", []):
            yield from _facts_of(mark)


def _facts_of(mark: pytest.Mark) -> Iterator[facts.Fact]:
    if mark.name == "differs":
        yield mark.args[0]
    if mark.name == "parametrize":
        for value in mark.args[1]:
            for inner in getattr(value, "marks", ()):
                yield from _facts_of(getattr(inner, "mark", inner))


def written_into(page: str) -> str:
    """The page with the list as it is to be."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin, f"the page has no line {BEGIN!r}"
    assert end, f"the page has no line {END!r}"
    return before + begin + re.sub(r"\n{3,}", "\n\n", made()) + end + after


if __name__ == "__main__":
    PAGE.write_text(written_into(PAGE.read_text(encoding="utf-8")), encoding="utf-8")

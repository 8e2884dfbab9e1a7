"""The manual's table of queue arguments says what the rows say."""

from __future__ import annotations

from amqpd.spec.arguments import ALL_TYPES, FIRST, LEAST, LIMIT, QUEUE_ARGUMENTS, Argument
from tests.support.repository import ROOT

MANUAL = ROOT / "docs" / "queues.md"
HEAD = "|---|---|---|---|---|\n"
END = "<!-- end -->"
MERGES = {FIRST: "first", LEAST: "smallest", LIMIT: "limit"}


def line(row: Argument) -> str:
    types = "all" if row.types == ALL_TYPES else ", ".join(row.types)
    policy = ("yes, O" if row.operator else "yes") if row.policy else ""
    merge = MERGES[row.merge] if row.policy else ""
    return f"| `{row.name}` | {types} | {policy} | {merge} | {row.doc} |\n"


def test_the_table_of_arguments_is_the_one_in_the_program() -> None:
    text = MANUAL.read_text(encoding="utf-8")
    written = text[text.index(HEAD) + len(HEAD) : text.index(END)]
    wanted = "".join(line(row) for row in sorted(QUEUE_ARGUMENTS.values()))
    assert written == wanted, f"the table should be:\n{wanted}"

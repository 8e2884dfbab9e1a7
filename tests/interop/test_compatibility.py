"""The list of differences in the manual is that of the suite, and every fact shows somewhere."""

from interop import facts
from interop.side_by_side import document


def test_the_list_in_the_manual_is_the_one_the_suite_has() -> None:
    page = document.PAGE.read_text(encoding="utf-8")
    assert document.written_into(page) == page, "python -m interop.side_by_side.document writes it anew"


def test_every_fact_shows_somewhere() -> None:
    assert {name for name, _ in facts.facts()} == document.shown_by().keys()


def test_every_fact_has_an_area_and_is_there_once() -> None:
    found = [fact for _, fact in facts.facts()]
    assert {fact.area for fact in found} == set(facts.AREAS)
    assert len(set(found)) == len(found)


def test_a_row_of_the_list_says_what_both_do_why_and_where() -> None:
    flow = next(line for line in document.made().splitlines() if "`channel.flow`" in line)
    assert facts.FLOW.rabbitmq in flow
    assert flow.endswith("| `channel_flow`, `test_channel` |")

"""x-stream-filter: what a consumer says it wants, and which messages that is."""

from __future__ import annotations

import pytest

from amqpd.queues.stream.filter import filter_of
from amqpd.wire.content import ContentHeader, header_from_properties, with_headers
from amqpd.wire.table import Field, Table

PLAIN = header_from_properties(b"\x00\x00", 0)
RED = Field("S", b"red")
BLUE = Field("S", b"blue")


def header(value: Field | None) -> ContentHeader:
    """With this x-stream-filter-value among others."""
    table: Table = {"a": Field("S", b"b")}
    if value is not None:
        table["x-stream-filter-value"] = value
    return with_headers(PLAIN, table)


def arguments(wanted: Field | None, unfiltered: bool | None = None) -> Table:
    table: Table = {}
    if wanted is not None:
        table["x-stream-filter"] = wanted
    if unfiltered is not None:
        table["x-stream-match-unfiltered"] = Field("t", unfiltered)
    return table


@pytest.mark.parametrize("unfiltered", [None, False, True])
def test_without_a_filter_everything_is_wanted(unfiltered: bool | None) -> None:
    assert filter_of(arguments(None, unfiltered)) is None


def test_one_value_is_wanted() -> None:
    wanted = filter_of(arguments(RED))
    assert wanted is not None
    assert wanted.wants(header(RED))
    assert not wanted.wants(header(BLUE))
    assert not wanted.wants(header(Field("S", b"re")))


def test_each_of_several_values_is_wanted() -> None:
    wanted = filter_of(arguments(Field("A", [RED, BLUE])))
    assert wanted is not None
    assert wanted.wants(header(RED))
    assert wanted.wants(header(BLUE))
    assert not wanted.wants(header(Field("S", b"green")))


def test_no_value_at_all_wants_nothing() -> None:
    wanted = filter_of(arguments(Field("A", [])))
    assert wanted is not None
    assert not wanted.wants(header(RED))
    assert not wanted.wants(PLAIN)


@pytest.mark.parametrize(("unfiltered", "seen"), [(None, False), (False, False), (True, True)])
def test_messages_without_a_value_come_where_they_are_asked_for(unfiltered: bool | None, seen: bool) -> None:
    wanted = filter_of(arguments(RED, unfiltered))
    assert wanted is not None
    assert wanted.wants(PLAIN) is seen
    assert wanted.wants(header(None)) is seen
    assert wanted.wants(header(Field("I", 5))) is seen  # a value that is no text is none
    assert wanted.wants(header(RED))
    assert not wanted.wants(header(BLUE))


def test_the_name_of_the_header_in_another_place_is_no_value() -> None:
    wanted = filter_of(arguments(RED))
    assert wanted is not None
    elsewhere = with_headers(PLAIN, {"a": Field("S", b"x-stream-filter-value"), "red": RED})
    assert not wanted.wants(elsewhere)


@pytest.mark.parametrize("wanted", [Field("I", 1), Field("t", True), Field("F", {}), Field("A", [RED, Field("I", 1)])])
def test_a_filter_that_is_no_text_is_refused(wanted: Field) -> None:
    with pytest.raises(ValueError, match="'x-stream-filter', 'expected a string"):
        filter_of(arguments(wanted))


@pytest.mark.parametrize("wanted", [None, RED])
def test_match_unfiltered_that_is_no_bool_is_refused(wanted: Field | None) -> None:
    with pytest.raises(ValueError, match="'x-stream-match-unfiltered', 'expected a bool"):
        filter_of(arguments(wanted) | {"x-stream-match-unfiltered": Field("S", b"true")})

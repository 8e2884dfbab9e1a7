"""x-stream-offset as text, number and time."""

from __future__ import annotations

import pytest

from amqpd.queues.stream.offset import Start, start_of
from amqpd.wire.table import Field

NOW = 1_700_000_000_000


@pytest.mark.parametrize(
    ("field", "start"),
    [
        (None, Start("next")),
        (Field("S", b"first"), Start("first")),
        (Field("S", b"last"), Start("last")),
        (Field("S", b"next"), Start("next")),
        (Field("x", b"first"), Start("first")),
        *[(Field(kind, 7), Start("offset", 7)) for kind in "bBsuIilL"],
        (Field("I", 0), Start("offset", 0)),
        (Field("b", -1), Start("back", 1)),
        (Field("l", -(2**63)), Start("back", 2**63)),
        (Field("T", 5), Start("since", 5000)),
        (Field("T", 0), Start("since", 0)),
        (Field("S", b"1h"), Start("since", NOW - 3_600_000)),
        (Field("x", b"10s"), Start("since", NOW - 10_000)),
        (Field("S", b"1M"), Start("since", NOW - 30 * 86_400_000)),
        (Field("S", b"1m"), Start("since", NOW - 60_000)),
    ],
)
def test_where_a_consumer_begins(field: Field | None, start: Start) -> None:
    assert start_of(field, NOW) == start


@pytest.mark.parametrize(
    "field",
    [
        *[
            Field("S", text)
            for text in (b"", b"First", b"xyz", b"5", b"-1h", b"0s", b"1d", b"1D ", b"first\n", b"\xff")
        ],
        *[Field(kind, 1.0) for kind in "df"],
        Field("t", True),
        Field("V", None),
        Field("D", (1, 5)),
        Field("A", [Field("I", 1)]),
        Field("F", {}),
    ],
)
def test_what_is_no_offset(field: Field) -> None:
    assert start_of(field, NOW) is None


def test_an_age_of_any_length_is_a_time_before_everything() -> None:
    start = start_of(Field("S", b"9" * 5000 + b"Y"), NOW)
    assert start is not None
    assert start.kind == "since"
    assert start.value < 0

"""When a message is due by its headers, for every type a client may choose, and what its consumers see."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta, tzinfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqpd.spec.arguments import MILLISECONDS_MAX
from amqpd.spec.errors import PreconditionFailed
from amqpd.wire.content import ContentHeader, header_from_properties, with_encoded_headers, with_headers
from amqpd.wire.table import Field, Table, encode_table, longstr
from amqpd_delayed_message.due import check, due_time, released

NOW = 1_800_000_000_000  # 2027-01-15 08:00:00 UTC
BARE = header_from_properties(b"\0\0", 0)
# The octets of each integer type, and whether it has a sign.
WIDTHS = {
    "b": (1, True),
    "B": (1, False),
    "s": (2, True),
    "u": (2, False),
    "I": (4, True),
    "i": (4, False),
    "l": (8, True),
    "L": (8, True),
}


def header(table: Table) -> ContentHeader:
    return with_headers(BARE, table)


def delayed(field: Field) -> ContentHeader:
    return header({"x-delay": field})


def at(field: Field) -> ContentHeader:
    return header({"x-deliver-at": field})


def largest(kind: str) -> int:
    octets, signed = WIDTHS[kind]
    return min((1 << 8 * octets - signed) - 1, MILLISECONDS_MAX)


def consumers_see(before: ContentHeader) -> Table:
    return released(before).table()


# x-delay


@pytest.mark.parametrize("kind", WIDTHS)
def test_integer_of_any_width_delays(kind: str) -> None:
    assert due_time(delayed(Field(kind, 1)), NOW) == NOW + 1
    assert due_time(delayed(Field(kind, largest(kind))), NOW) == NOW + largest(kind)


@pytest.mark.parametrize("kind", [kind for kind, (_, signed) in WIDTHS.items() if signed])
def test_negative_integer_does_not_delay(kind: str) -> None:
    assert due_time(delayed(Field(kind, -5)), NOW) == 0


@pytest.mark.parametrize("kind", WIDTHS)
def test_zero_does_not_delay(kind: str) -> None:
    assert due_time(delayed(Field(kind, 0)), NOW) == 0


def test_ten_years_delay_and_more_does_not() -> None:
    assert due_time(delayed(Field("l", MILLISECONDS_MAX)), NOW) == NOW + MILLISECONDS_MAX
    assert due_time(delayed(Field("l", MILLISECONDS_MAX + 1)), NOW) == 0
    assert due_time(delayed(longstr(str(MILLISECONDS_MAX + 1))), NOW) == 0


def test_delay_beyond_32_bits_delays() -> None:
    assert due_time(delayed(Field("l", 1 << 32)), NOW) == NOW + (1 << 32)


@pytest.mark.parametrize(("text", "delay"), [("5000", 5000), ("+7", 7), ("0005", 5), ("127", 127)])
def test_string_with_a_whole_number_delays(text: str, delay: int) -> None:
    assert due_time(delayed(longstr(text)), NOW) == NOW + delay
    assert due_time(delayed(Field("x", text.encode())), NOW) == NOW + delay


@pytest.mark.parametrize(
    "text", ["", "-5000", "0", " 5", "5 ", "5s", "1e3", "5.0", "1_000", "\u0665", "five", "9" * 20, "9" * 5000]
)
def test_other_string_does_not_delay(text: str) -> None:
    assert due_time(delayed(longstr(text)), NOW) == 0
    assert due_time(delayed(Field("x", text.encode())), NOW) == 0


def test_string_that_is_no_text_does_not_delay() -> None:
    assert due_time(delayed(Field("S", b"\xff5")), NOW) == 0


@pytest.mark.parametrize("kind", ["f", "d"])
def test_float_is_cut_to_a_whole_number(kind: str) -> None:
    assert due_time(delayed(Field(kind, 1500.75)), NOW) == NOW + 1500
    assert due_time(delayed(Field(kind, 0.9)), NOW) == 0
    assert due_time(delayed(Field(kind, -1500.0)), NOW) == 0


@pytest.mark.parametrize("kind", ["f", "d"])
@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), 1e30])
def test_float_without_a_sensible_value_does_not_delay(kind: str, value: float) -> None:
    assert due_time(delayed(Field(kind, value)), NOW) == 0


@pytest.mark.parametrize(
    "field",
    [
        Field("t", True),
        Field("V", None),
        Field("T", 5000),
        Field("D", (0, 5000)),
        Field("A", [Field("I", 5000)]),
        Field("F", {"x-delay": Field("I", 5000)}),
    ],
    ids=lambda field: field.kind,
)
def test_other_type_does_not_delay(field: Field) -> None:
    assert due_time(delayed(field), NOW) == 0


def test_message_without_the_header_is_not_delayed() -> None:
    assert due_time(BARE, NOW) == 0
    assert due_time(header({}), NOW) == 0
    assert (
        due_time(header({"x-delays": Field("I", 5), "X-Delay": Field("I", 5), "delay": longstr("x-delay")}), NOW) == 0
    )


def test_header_is_found_among_others() -> None:
    before: Table = {"a": longstr("x-delay"), "list": Field("A", [longstr("\x07x-delayI\0\0\0\x05")])}
    assert due_time(header(before), NOW) == 0
    assert due_time(header(before | {"x-delay": Field("I", 9), "z": Field("V", None)}), NOW) == NOW + 9


def test_first_of_two_delays_counts() -> None:
    both = encode_table({"x-delay": Field("I", 10)}) + encode_table({"x-delay": Field("I", 20)})
    assert due_time(with_encoded_headers(BARE, both), NOW) == NOW + 10


@given(st.sampled_from("sIl"), st.data())
def test_what_delays_is_exactly_what_lies_between_the_limits(kind: str, data: st.DataObject) -> None:
    octets, _ = WIDTHS[kind]
    value = data.draw(st.integers(-(1 << 8 * octets - 1), (1 << 8 * octets - 1) - 1))
    wanted = NOW + value if 0 < value <= MILLISECONDS_MAX else 0
    assert due_time(delayed(Field(kind, value)), NOW) == wanted
    assert due_time(delayed(longstr(str(value))), NOW) == wanted


# x-deliver-at


@pytest.mark.parametrize("kind", ["l", "L", "d"])
def test_milliseconds_since_1970_are_a_time(kind: str) -> None:
    time = NOW + 5000
    assert due_time(at(Field(kind, float(time) if kind == "d" else time)), NOW) == time


def test_timestamp_is_in_seconds() -> None:
    assert due_time(at(Field("T", NOW // 1000 + 60)), NOW) == NOW + 60_000


@pytest.mark.parametrize(
    "text",
    [
        str(NOW + 5000),
        "2027-01-15T08:00:05Z",
        "2027-01-15 08:00:05.000+00:00",
        "2027-01-15T09:00:05+01:00",
        "2027-01-14T22:30:05-09:30",
        "20270115T080005Z",
    ],
)
def test_string_with_a_time_is_one(text: str) -> None:
    assert due_time(at(longstr(text)), NOW) == NOW + 5000


def test_time_between_two_milliseconds_is_not_early() -> None:
    assert due_time(at(longstr("2027-01-15T08:00:00.000001Z")), NOW) == NOW + 1


@pytest.mark.parametrize(
    "field",
    [
        Field("T", NOW // 1000),
        Field("T", 0),
        Field("l", NOW),
        Field("l", -1),
        Field("b", 5),
        longstr("0"),
        longstr("2027-01-15T07:59:59Z"),
        longstr("1969-12-31T23:59:59Z"),
        longstr("0001-01-01T00:00:00Z"),
        longstr("-5"),
    ],
)
def test_time_that_has_passed_does_not_delay(field: Field) -> None:
    assert due_time(at(field), NOW) == 0
    check(at(field), NOW)


@pytest.mark.parametrize(
    "field",
    [
        longstr(""),
        longstr("tomorrow"),
        longstr("2027-01-15T08:00:05"),  # whose eight o'clock?
        longstr("2027-01-15"),
        longstr("2027-02-30T08:00:05Z"),
        longstr("2027-01-15T08:00:05Z" + " " * 60),
        longstr("9" * 100),
        Field("S", b"\xff\xfe"),
        Field("t", True),
        Field("V", None),
        Field("D", (3, 1)),
        Field("x", b"2027-01-15T08:00:05Z"),
        Field("d", float("nan")),
        Field("d", float("inf")),
        Field("F", {}),
        Field("A", []),
    ],
)
def test_what_is_no_time_is_refused(field: Field) -> None:
    assert due_time(at(field), NOW) == 0
    with pytest.raises(PreconditionFailed, match="invalid header 'x-deliver-at': it must be a timestamp") as refused:
        check(at(field), NOW)
    assert refused.value.reply_text.startswith("PRECONDITION_FAILED - ")


def test_time_more_than_ten_years_away_is_refused() -> None:
    last = at(Field("l", NOW + MILLISECONDS_MAX))
    assert due_time(last, NOW) == NOW + MILLISECONDS_MAX
    check(last, NOW)
    for field in (Field("l", NOW + MILLISECONDS_MAX + 1), Field("T", (1 << 64) - 1), longstr("9999-12-31T23:59:59Z")):
        assert due_time(at(field), NOW) == 0
        with pytest.raises(PreconditionFailed, match="more than ten years away"):
            check(at(field), NOW)


def test_nothing_is_refused_where_there_is_no_time() -> None:
    check(BARE, NOW)
    check(header({"x-delay": longstr("soon"), "list": Field("A", [longstr("\x0cx-deliver-at")])}), NOW)


@given(st.integers(NOW + 86_400_000, NOW + MILLISECONDS_MAX - 86_400_000), st.integers(0, 999), st.timezones())
def test_iso_time_is_that_moment_in_any_zone(exact: int, less: int, zone: tzinfo) -> None:
    time = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=exact, microseconds=-less)).astimezone(zone)
    assert due_time(at(longstr(time.isoformat())), NOW) == exact


def test_delay_goes_before_time() -> None:
    both: Table = {"x-deliver-at": Field("l", NOW + 1), "x-delay": Field("I", 1000)}
    assert due_time(header(both), NOW) == NOW + 1000
    both["x-delay"] = Field("I", -1000)
    assert due_time(header(both), NOW) == NOW + 1


# What consumers see


@pytest.mark.parametrize(
    "field",
    [*[Field(kind, 100) for kind in WIDTHS], longstr("100"), longstr("+100"), Field("f", 100.5), Field("d", 100.999)],
    ids=lambda field: f"{field.kind} {field.value}",
)
def test_delay_becomes_a_negative_32_bit_integer(field: Field) -> None:
    assert consumers_see(delayed(field)) == {"x-delay": Field("I", -100)}


@pytest.mark.parametrize(("delay", "kind"), [(1 << 31, "I"), ((1 << 31) + 1, "l"), (MILLISECONDS_MAX, "l")])
def test_delay_that_does_not_fit_becomes_wider(delay: int, kind: str) -> None:
    assert consumers_see(delayed(Field("l", delay))) == {"x-delay": Field(kind, -delay)}


@pytest.mark.parametrize("field", [Field("I", -7), Field("b", 0), longstr("soon"), Field("l", MILLISECONDS_MAX + 1)])
def test_what_is_no_delay_stays_as_it_is(field: Field) -> None:
    assert consumers_see(delayed(field)) == {"x-delay": field}


def test_what_is_for_the_exchange_is_taken_out() -> None:
    spent = {"x-deliver-at", "x-cron", "x-cron-timezone", "x-period", "x-repeat"}
    table: Table = {"before": Field("d", 0.5), **dict.fromkeys(spent, longstr("x")), "after": Field("F", {})}
    assert consumers_see(header(table)) == {"before": Field("d", 0.5), "after": Field("F", {})}


def test_table_that_was_only_for_the_exchange_is_gone() -> None:
    assert released(at(Field("T", 1))).headers is None
    assert released(BARE) is BARE


def test_other_headers_and_properties_keep_their_octets() -> None:
    odd = b"\x02\xff\xfe" + b"S" + struct.pack(">I", 2) + b"\xff\xfe" + b"\x01nf\x7f\x80\x00\x01"
    with_both = with_encoded_headers(
        header_from_properties(b"\x10\x80\x02\x02id", 7), odd + encode_table({"x-delay": Field("I", 5)})
    )
    after = released(with_both)
    assert after.headers == odd + encode_table({"x-delay": Field("I", -5)})
    assert after.persistent
    assert after.body_size == 7


def test_second_of_two_delays_is_taken_out() -> None:
    both = encode_table({"x-delay": Field("I", 10)}) + encode_table({"x-delay": Field("I", 20)})
    assert released(with_encoded_headers(BARE, both)).headers == encode_table({"x-delay": Field("I", -10)})


delays = st.one_of(
    st.integers(1, 127).map(lambda value: Field("b", value)),
    st.integers(1, 65535).map(lambda value: Field("u", value)),
    st.integers(1, MILLISECONDS_MAX).map(lambda value: Field("l", value)),
    st.integers(1, MILLISECONDS_MAX).map(lambda value: longstr(str(value))),
    st.floats(1, 1e11).map(lambda value: Field("d", value)),
)
times = st.one_of(
    st.integers(NOW + 1, NOW + MILLISECONDS_MAX).map(lambda value: Field("l", value)),
    st.integers(NOW // 1000 + 1, NOW // 1000 + 10_000).map(lambda value: Field("T", value)),
)


@given(st.fixed_dictionaries({}, optional={"x-delay": delays, "x-deliver-at": times, "other": delays}))
def test_what_was_delayed_once_is_not_delayed_again(table: Table) -> None:
    before = header(table)
    if "x-delay" in table or "x-deliver-at" in table:
        assert due_time(before, NOW) > NOW
    after = released(before)
    assert due_time(after, NOW) == 0
    check(after, NOW)
    assert after.table().get("other") == table.get("other")

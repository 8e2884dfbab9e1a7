"""When a message comes again: by cron expressions in time zones, by periods, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqpd.spec.arguments import MILLISECONDS_MAX
from amqpd.spec.errors import PreconditionFailed
from amqpd.wire.content import ContentHeader, header_from_properties, with_headers
from amqpd.wire.table import Field, Table, longstr
from amqpd_delayed_message.recurrence import PERIOD_MS_MIN, check, next_time, recurs

BERLIN = "Europe/Berlin"
MINUTE = 60_000
BARE = header_from_properties(b"\0\0", 0)


def header(table: Table) -> ContentHeader:
    return with_headers(BARE, table)


def cron(expression: str, zone: str | None = None, more: Table | None = None) -> ContentHeader:
    named = {} if zone is None else {"x-cron-timezone": longstr(zone)}
    return header({"x-cron": longstr(expression)} | named | (more or {}))


def every(period: int, repeat: int | None = None) -> ContentHeader:
    return header({"x-period": Field("I", period)} | ({} if repeat is None else {"x-repeat": Field("I", repeat)}))


def moment(text: str, zone: str = "UTC") -> int:
    """Milliseconds since 1970 of a local time; a second ``!`` chooses the later of two."""
    time = datetime.fromisoformat(text.rstrip("!")).replace(tzinfo=ZoneInfo(zone), fold=text.endswith("!"))
    return int(time.timestamp()) * 1000


def following(expression: str, after: str, times: int, zone: str = "UTC") -> list[str]:
    """The next times of a cron expression as local times with their offset."""
    message = cron(expression, zone)
    check(message)
    due = moment(after, zone)
    found = []
    for fired in range(times):
        due = next_time(message, due, due, fired)
        found.append(datetime.fromtimestamp(due // 1000, ZoneInfo(zone)).isoformat(" ", "minutes"))
    return found


# Cron


def test_times_of_an_expression_follow_each_other() -> None:
    assert following("*/20 8-9 * * MON-FRI", "2027-01-15 09:10", 4) == [
        "2027-01-15 09:20+00:00",
        "2027-01-15 09:40+00:00",
        "2027-01-18 08:00+00:00",
        "2027-01-18 08:20+00:00",
    ]


def test_last_days_of_months() -> None:
    assert following("0 12 L * *", "2028-01-15 00:00", 3) == [
        "2028-01-31 12:00+00:00",
        "2028-02-29 12:00+00:00",
        "2028-03-31 12:00+00:00",
    ]
    assert following("0 0 31 * *", "2027-01-31 00:00", 3) == [
        "2027-03-31 00:00+00:00",
        "2027-05-31 00:00+00:00",
        "2027-07-31 00:00+00:00",
    ]
    assert following("0 0 29 2 *", "2027-01-01 00:00", 2) == ["2028-02-29 00:00+00:00", "2032-02-29 00:00+00:00"]


def test_day_of_month_or_day_of_week_as_cron_has_it() -> None:
    assert following("0 0 13 * FRI", "2026-11-07 00:00", 2) == ["2026-11-13 00:00+00:00", "2026-11-20 00:00+00:00"]


def test_hour_that_is_left_out_comes_right_after() -> None:
    """In Berlin the clock goes from 2 to 3 on 2027-03-28."""
    assert following("30 2 * * *", "2027-03-27 12:00", 2, BERLIN) == [
        "2027-03-28 03:00+02:00",
        "2027-03-29 02:30+02:00",
    ]


def test_hour_that_comes_twice_has_its_job_once() -> None:
    """In Berlin the clock goes from 3 back to 2 on 2027-10-31."""
    assert following("30 2 * * *", "2027-10-30 12:00", 2, BERLIN) == [
        "2027-10-31 02:30+02:00",
        "2027-11-01 02:30+01:00",
    ]
    assert following("30 2 * * *", "2027-10-31 02:10!", 1, BERLIN) == ["2027-11-01 02:30+01:00"]


def test_job_of_every_half_hour_goes_on_through_a_change_of_the_clock() -> None:
    assert following("*/30 * * * *", "2027-10-31 02:00", 4, BERLIN) == [
        "2027-10-31 02:30+02:00",
        "2027-10-31 02:00+01:00",
        "2027-10-31 02:30+01:00",
        "2027-10-31 03:00+01:00",
    ]
    assert following("*/30 * * * *", "2027-03-28 01:00", 3, BERLIN) == [
        "2027-03-28 01:30+01:00",
        "2027-03-28 03:00+02:00",
        "2027-03-28 03:30+02:00",
    ]


def test_zone_with_a_half_hour_is_kept() -> None:
    assert following("0 9 * * *", "2027-01-15 00:00", 1, "Asia/Kolkata") == ["2027-01-15 09:00+05:30"]
    assert following("0 9 * * *", "2027-01-15 00:00", 1) == ["2027-01-15 09:00+00:00"]


def test_times_missed_are_one() -> None:
    due = moment("2027-01-15 08:00")
    now = moment("2027-01-18 08:07") + 123
    assert next_time(cron("*/5 * * * *"), due, now, 1) == moment("2027-01-18 08:10")


def test_time_that_was_fired_before_it_came_is_not_fired_again() -> None:
    due = moment("2027-01-16 03:00")
    assert next_time(cron("0 3 * * *"), due, moment("2027-01-15 12:00"), 1) == moment("2027-01-17 03:00")


def test_expression_may_end() -> None:
    message = cron("0 * * * *", more={"x-repeat": Field("b", 3)})
    check(message)
    assert next_time(message, 0, 0, 2) == 60 * MINUTE
    assert next_time(message, 0, 0, 3) == 0


expressions = st.sampled_from(
    [
        "30 2 * * *",
        "0 0 * * *",
        "59 23 L * *",
        "*/7 * * * *",
        "0 */6 * * *",
        "15 1,3 * * SUN",
        "0 12 29 2 *",
        "5 0 1 */3 *",
    ]
)


@given(expressions, st.timezones(), st.integers(1_700_000_000_000, 2_100_000_000_000), st.integers(-(10**9), 10**9))
def test_next_time_lies_ahead_and_keeps_the_expression(source: str, zone: ZoneInfo, now: int, ago: int) -> None:
    assert zone.key is not None
    due = next_time(cron(source, zone.key), now - ago, now, 0)
    assert due > max(now, now - ago)
    assert due % MINUTE == 0
    assert due - max(now, now - ago) < 9 * 366 * 24 * 60 * MINUTE


@given(st.integers(1_700_000_000_000, 1_900_000_000_000))
def test_times_of_midnight_in_utc(now: int) -> None:
    midnight = datetime.fromtimestamp(now // 1000, UTC).replace(hour=0, minute=0, second=0) + timedelta(days=1)
    assert next_time(cron("0 0 * * *"), now, now, 0) == int(midnight.timestamp()) * 1000


# Periods


def test_period_is_kept_from_the_first_time_on() -> None:
    assert next_time(every(1000), 5000, 5000, 0) == 6000
    assert next_time(every(1000), 6000, 6000, 1) == 7000
    assert next_time(every(1000), 7000, 7040, 2) == 8000  # late, and no later for it


def test_periods_missed_are_one() -> None:
    assert next_time(every(1000), 5000, 60_500, 3) == 61_000
    assert next_time(every(1000), 5000, 60_000, 3) == 61_000


def test_period_fired_before_its_time_is_over() -> None:
    assert next_time(every(1000), 5000, 4100, 1) == 6000


def test_repeat_counts_all_times() -> None:
    message = every(1000, 3)
    assert [next_time(message, 0, 0, fired) for fired in range(5)] == [1000, 1000, 1000, 0, 0]


@given(st.integers(PERIOD_MS_MIN, MILLISECONDS_MAX), st.integers(0, 2 * 10**12), st.integers(0, 2 * 10**12))
def test_next_period_is_the_first_of_the_grid_that_lies_ahead(period: int, previous: int, now: int) -> None:
    due = next_time(header({"x-period": Field("l", period)}), previous, now, 0)
    last = max(previous, now)
    assert last < due <= last + period
    assert (due - previous) % period == 0


@pytest.mark.parametrize("field", [Field("l", 1000), Field("u", 1000), longstr("1000"), Field("d", 1000.5)])
def test_period_and_repeat_may_have_any_type_of_a_number(field: Field) -> None:
    message = header({"x-period": field, "x-repeat": field})
    check(message)
    assert next_time(message, 0, 0, 999) == 1000
    assert next_time(message, 0, 0, 1000) == 0


# Which messages


def test_only_a_message_that_says_so_recurs() -> None:
    assert recurs(every(1000))
    assert recurs(cron("* * * * *"))
    assert not recurs(BARE)
    assert not recurs(header({"x-delay": Field("I", 5), "x-repeat": Field("I", 5), "x-cron-timezone": longstr("UTC")}))
    assert not recurs(header({"a": longstr("\x06x-cron"), "b": longstr("\x08x-period")}))


def test_broken_message_recurs_so_that_it_is_checked() -> None:
    assert recurs(header({"x-cron": Field("V", None)}))
    assert recurs(header({"x-period": longstr("")}))


# What is refused


def refusal(message: ContentHeader) -> str:
    with pytest.raises(PreconditionFailed) as refused:
        check(message)
    return refused.value.text


@pytest.mark.parametrize(
    ("expression", "wrong"),
    [
        ("61 * * * *", "bad minute in '61 * * * *'"),
        ("* 24 * * *", "bad hour in '* 24 * * *'"),
        ("* * 0 * *", "bad day-of-month in '* * 0 * *'"),
        ("* * * 13 *", "bad month in '* * * 13 *'"),
        ("* * * * 8", "bad day-of-week in '* * * * 8'"),
        ("5-1 * * * *", "bad minute in '5-1 * * * *'"),
        ("*/0 * * * *", "bad minute in '*/0 * * * *'"),
        ("", "it is empty"),
        ("  ", "it is empty"),
        ("0 0 30 2 *", "bad day-of-month in '0 0 30 2 *'"),
        ("* * */20 * 1L", "'* * */20 * 1L' never comes"),
        ("* * * *", "'* * * *' is not minute, hour, day of month, month and day of week"),
        ("0 * * * * *", "'0 * * * * *' is not minute, hour, day of month, month and day of week"),
        ("@daily", "'@daily' is not minute, hour, day of month, month and day of week"),
    ],
)
def test_expression_that_says_nothing_is_refused(expression: str, wrong: str) -> None:
    assert refusal(cron(expression)) == f"invalid header 'x-cron': {wrong}"


@pytest.mark.parametrize("field", [Field("I", 5), Field("S", b"\xff * * * *"), longstr("* " * 200), Field("V", None)])
def test_expression_that_is_no_short_text_is_refused(field: Field) -> None:
    assert refusal(header({"x-cron": field})) == (
        "invalid header 'x-cron': it must be a string of at most 255 characters"
    )


@pytest.mark.parametrize("zone", ["Mars/Phobos", "", "Europe", "../UTC", "/etc/localtime", "a\0b"])
def test_unknown_zone_is_refused(zone: str) -> None:
    assert refusal(cron("* * * * *", zone)) == f"invalid header 'x-cron-timezone': there is no time zone '{zone}'"


@pytest.mark.parametrize(
    "field",
    [Field("I", 99), Field("I", 0), Field("I", -1), Field("l", MILLISECONDS_MAX + 1), longstr("1s"), Field("V", None)],
)
def test_period_out_of_bounds_is_refused(field: Field) -> None:
    assert refusal(header({"x-period": field})) == (
        "invalid header 'x-period': it must be a whole number from 100 to 315360000000"
    )


@pytest.mark.parametrize("field", [Field("I", 0), Field("b", -1), longstr("often"), Field("t", True)])
def test_repeat_that_is_no_count_is_refused(field: Field) -> None:
    assert refusal(header({"x-period": Field("I", 100), "x-repeat": field})).startswith(
        "invalid header 'x-repeat': it must be a whole number from 1 to "
    )


def test_expression_and_period_together_are_refused() -> None:
    assert refusal(cron("* * * * *", more={"x-period": Field("I", 1000)})) == (
        "headers 'x-cron' and 'x-period' are for different messages: give one of them"
    )


number = st.integers(0, 60).map(str)
part = st.one_of(
    st.just("*"), number, st.sampled_from(["L", "LW", "1L", "L-1", "MON", "FEB", "sun", "MON#5", "#", "7#1"]), st.text()
)
field = st.one_of(
    part,
    st.builds("{}-{}".format, number, number),
    st.builds("{}/{}".format, part, number),
    st.builds("{},{}".format, part, part),
    st.builds("{}-{}/{}".format, number, number, number),
)


@given(st.lists(field, min_size=5, max_size=5).map(" ".join), st.sampled_from(["UTC", BERLIN, "America/New_York"]))
def test_any_text_is_either_refused_or_has_a_next_time(text: str, zone: str) -> None:
    message = cron(text, zone)
    try:
        check(message)
    except PreconditionFailed:
        return
    assert next_time(message, 0, 1_800_000_000_000, 0) > 1_800_000_000_000

"""Messages that come again: by a cron expression (``x-cron``) or every so many milliseconds (``x-period``).

1. ``x-repeat`` says how often, all in all; without it they come for ever.
2. The first time is that of x-delay or x-deliver-at if there is one, else the first after the publish.
3. Times keep to their grid: a late occurrence does not put off the next. Those that passed while the broker was down,
   or too busy, are one: the next is the first after now.
4. An expression is read as Debian's cron reads it, in UTC or in the zone of ``x-cron-timezone``. Where the clock is put
   forward, what would fall into the gap comes right after it; where it is put back, a job of a certain hour comes once.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from amqpd.spec.arguments import MILLISECONDS_MAX
from amqpd.spec.errors import PreconditionFailed
from amqpd.wire.content import ContentHeader
from amqpd.wire.table import Field
from amqpd_delayed_message.due import field, number

CRON: Final = b"x-cron"
ZONE: Final = b"x-cron-timezone"
PERIOD: Final = b"x-period"
REPEAT: Final = b"x-repeat"

PERIOD_MS_MIN: Final = 100  # faster than that is a load generator, not a clock
PERIOD_MS_MAX: Final = MILLISECONDS_MAX
CRON_OCTETS_MAX: Final = 255

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


class Recurrence(NamedTuple):
    """``cron``: empty where ``period`` (milliseconds) says when. ``repeat``: times all in all, -1 for ever."""

    cron: str
    zone: str
    period: int
    repeat: int

    def following(self, after: int, previous: int) -> int:
        """The first time above ``after``, in milliseconds since 1970; 0 for none. ``previous`` lies on the grid."""
        if self.cron:
            return _next_by_cron(self.cron, self.zone, after)
        return previous + ((after - previous) // self.period + 1) * self.period


def recurs(header: ContentHeader) -> bool:
    """Whether the message is to come again, or says so in a way that ``check`` refuses."""
    headers = header.headers
    if headers is None:
        return False
    # The octet in front is the length of the name.
    if b"\x06x-cron" not in headers and b"\x08x-period" not in headers:
        return False
    return field(headers, CRON) is not None or field(headers, PERIOD) is not None


def check(header: ContentHeader) -> None:
    """Raises PreconditionFailed (406, closes the channel) on headers of a recurrence that cannot be understood."""
    assert header.headers is not None
    recurrence = _recurrence(header.headers)
    if recurrence.cron:
        _check_cron(recurrence.cron, recurrence.zone)


def next_time(header: ContentHeader, previous_due: int, now: int, fired: int) -> int:
    """When it is due again, in milliseconds since 1970, always above ``now`` and ``previous_due``; 0: no more.

    ``previous_due``: when it was due last, or the time of the publish. ``fired``: how often it came. ``header`` has
    passed ``check``.
    """
    assert header.headers is not None
    recurrence = _recurrence(header.headers)
    if 0 <= recurrence.repeat <= fired:
        return 0
    return recurrence.following(max(previous_due, now), previous_due)


def words(header: ContentHeader) -> str:
    """For people: ``0 3 * * * Europe/Berlin``, ``every 500 ms, 3 times``; empty where it does not recur."""
    if not recurs(header):
        return ""
    assert header.headers is not None
    cron, zone, period, repeat = _recurrence(header.headers)
    when = f"{cron} {zone}" if cron else f"every {period} ms"
    return when if repeat < 0 else f"{when}, {repeat} times"


def _recurrence(headers: bytes) -> Recurrence:
    """Raises PreconditionFailed."""
    cron, period = field(headers, CRON), field(headers, PERIOD)
    if cron is not None and period is not None:
        raise PreconditionFailed("headers 'x-cron' and 'x-period' are for different messages: give one of them")
    every = 0
    if period is not None:
        every = _number(period, "x-period", PERIOD_MS_MIN, PERIOD_MS_MAX)
    expression = "" if cron is None else _text(cron, "x-cron")
    if cron is not None and not expression.strip():
        raise PreconditionFailed("invalid header 'x-cron': it is empty")
    zone, repeat = field(headers, ZONE), field(headers, REPEAT)
    return Recurrence(
        expression,
        "UTC" if zone is None else _text(zone, "x-cron-timezone"),
        every,
        -1 if repeat is None else _number(repeat, "x-repeat", 1, 1 << 31),
    )


def _text(found: Field, name: str) -> str:
    value = found.value
    if found.kind != "S" or not isinstance(value, bytes) or len(value) > CRON_OCTETS_MAX or not value.isascii():
        raise PreconditionFailed(
            f"invalid header '{name}': it must be a string of at most {CRON_OCTETS_MAX} characters"
        )
    return value.decode("ascii")


def _number(found: Field, name: str, least: int, most: int) -> int:
    value = number(found)
    if value is None or not least <= value <= most:
        raise PreconditionFailed(f"invalid header '{name}': it must be a whole number from {least} to {most}")
    return value


# Cron


@lru_cache(maxsize=256)
def _check_cron(expression: str, zone: str) -> None:
    """Raises PreconditionFailed."""
    if _zone(zone) is None:
        raise PreconditionFailed(f"invalid header 'x-cron-timezone': there is no time zone '{zone}'")
    if len(expression.split()) != 5:
        raise PreconditionFailed(
            f"invalid header 'x-cron': '{expression}' is not minute, hour, day of month, month and day of week"
        )
    try:
        times = CronSim(expression, _EPOCH)
    except (CronSimError, ValueError) as error:
        raise PreconditionFailed(f"invalid header 'x-cron': {str(error).lower()} in '{expression}'") from None
    if next(times, None) is None:
        raise PreconditionFailed(f"invalid header 'x-cron': '{expression}' never comes")


def _next_by_cron(expression: str, zone: str, after: int) -> int:
    """0 when it does not come in the next fifty years."""
    # A zone that this machine knows no more: the wrong hour is better than never.
    start = (_EPOCH + timedelta(milliseconds=after)).astimezone(_zone(zone) or UTC)
    for time in CronSim(expression, start):
        due = (time.astimezone(UTC) - _EPOCH) // _MILLISECOND
        # In the hour that a clock which is put back shows twice, the first of the two may lie behind.
        if due > after:
            return due
    return 0


@lru_cache(maxsize=256)
def _zone(name: str) -> tzinfo | None:
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None

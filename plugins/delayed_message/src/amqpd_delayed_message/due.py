"""When a message is due, read from its header table where it lies.

1. ``x-delay``: milliseconds from now. Every integer type counts, also the signed octet that aio-pika chooses for small
   values, a string or byte array that is a whole number, and a float, cut to a whole one. 0, less, or more than ten
   years is no delay, and neither is any other type: such a message is routed at once (so does RabbitMQ's plugin).
2. ``x-deliver-at``: the time itself, as a timestamp (seconds), as a number or string of milliseconds since 1970, or as
   a string in ISO 8601 with its zone. One that has passed is no delay. It counts where there is no valid ``x-delay``.
   Nobody used it before this plugin, so what is no time, or more than ten years away, is refused, not routed at once.
3. Of a name that a table has twice the first counts.
4. A message that leaves has its ``x-delay`` negated, so that the next delayed exchange on its way does not delay it
   again; ``x-deliver-at`` and what makes it recur are taken out.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from amqpd.spec.arguments import INTEGER_TYPES, MILLISECONDS_MAX
from amqpd.spec.errors import PreconditionFailed
from amqpd.wire.content import ContentHeader, Span, spans, with_encoded_headers, with_headers
from amqpd.wire.table import Field, decode_field, encode_field

DELAY: Final = b"x-delay"
DELIVER_AT: Final = b"x-deliver-at"
# What is for the exchange, not for consumers.
SPENT: Final = frozenset((DELIVER_AT, b"x-cron", b"x-cron-timezone", b"x-period", b"x-repeat"))

# As they lie in a table, behind the octet with their length.
_DELAY_NAME: Final = b"\x07" + DELAY
_DELIVER_AT_NAME: Final = b"\x0c" + DELIVER_AT

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
# Longer ones are no numbers: all that is of use has twelve or thirteen digits, and long ones take long to read.
_INTEGER: Final = re.compile(rb"[+-]?[0-9]{1,24}")
_TIME_OCTETS_MAX: Final = 64


def due_time(header: ContentHeader, now: int) -> int:
    """When the message is to be routed, in milliseconds since 1970, as ``now``; 0: at once."""
    headers = header.headers
    if headers is None:
        return 0
    if _DELAY_NAME in headers:
        delay = delay_ms(field(headers, DELAY))
        if delay:
            return now + delay
    if _DELIVER_AT_NAME in headers:
        time = time_ms(field(headers, DELIVER_AT))
        if now < time <= now + MILLISECONDS_MAX:
            return time
    return 0


def check(header: ContentHeader, now: int) -> None:
    """For a message that ``due_time`` does not delay.

    Raises PreconditionFailed (406, closes the channel) when it has an x-deliver-at that was to delay it.
    """
    headers = header.headers
    if headers is None or _DELIVER_AT_NAME not in headers:
        return
    found = field(headers, DELIVER_AT)
    if found is None:
        return
    time = time_ms(found)
    if time < 0:
        raise PreconditionFailed(
            "invalid header 'x-deliver-at': it must be a timestamp, milliseconds since 1970, "
            "or a date and time in ISO 8601 with its zone"
        )
    if time > now + MILLISECONDS_MAX:
        raise PreconditionFailed("invalid header 'x-deliver-at': it is more than ten years away")


def delay_ms(found: Field | None) -> int:
    """Rule 1; 0 is no delay."""
    delay = number(found)
    return delay if delay is not None and 0 < delay <= MILLISECONDS_MAX else 0


def time_ms(found: Field | None) -> int:
    """Rule 2, in milliseconds since 1970, rounded up; -1 is no time. What lies before 1970 is 0."""
    if found is None:
        return -1
    kind, value = found
    if kind == "T" and isinstance(value, int):
        return value * 1000
    time = number(found)
    if time is None and kind == "S" and isinstance(value, bytes):
        time = _iso_ms(value)
    return -1 if time is None else max(time, 0)


def number(found: Field | None) -> int | None:
    """The whole number that a field stands for; None where it stands for none."""
    if found is None:
        return None
    kind, value = found
    if kind in INTEGER_TYPES and isinstance(value, int):
        return value
    if kind in "fd" and isinstance(value, float):
        return int(value) if abs(value) < 1e18 else None  # which neither an infinity nor a NaN is
    if kind in "Sx" and isinstance(value, bytes):
        return int(value) if _INTEGER.fullmatch(value) else None
    return None


def _iso_ms(text: bytes) -> int | None:
    """None where it is no date and time, or one without a zone: nobody knows when that is."""
    if len(text) > _TIME_OCTETS_MAX or not text.isascii():
        return None
    try:
        time = datetime.fromisoformat(text.decode("ascii"))
    except ValueError:
        return None
    if time.tzinfo is None:
        return None
    return -((_EPOCH - time) // _MILLISECOND)


def field(headers: bytes, name: bytes) -> Field | None:
    """The field ``name`` of an encoded table, None when there is none. No other is decoded."""
    for span in spans(headers, 0, True):
        if span.name == name:
            return _decoded(headers, span)
    return None


def _decoded(headers: bytes, span: Span) -> Field:
    return decode_field(headers, int(span.value))


def released(header: ContentHeader) -> ContentHeader:
    """Rule 4: the header with which a message that was due is routed.

    The negative delay is a signed 32-bit integer (``I``), whatever type it had, as with RabbitMQ up to 3.12; since 3.13
    its plugin writes 64 bits (``l``). Spring AMQP up to 3.1 reads only the former, later versions both. What does not
    fit is an ``l``. What is no delay stays as it is.
    """
    headers = header.headers
    if headers is None:
        return header
    pieces: list[bytes] = []
    delayed = False
    for span in spans(headers, 0, True):
        if span.name == DELAY:
            # Were a second one left, it would be the first for those who look from behind.
            if not delayed:
                pieces.append(_negated(headers, span))
            delayed = True
        elif span.name not in SPENT:
            pieces.append(headers[span.start : span.end])
    return with_encoded_headers(header, b"".join(pieces)) if pieces else with_headers(header, {})


def _negated(headers: bytes, span: Span) -> bytes:
    delay = delay_ms(_decoded(headers, span))
    if not delay:
        return headers[span.start : span.end]
    return _DELAY_NAME + encode_field(Field("I" if delay <= 1 << 31 else "l", -delay))

"""Where a consumer of a stream begins: the argument x-stream-offset of basic.consume.

``first``, ``last`` (the newest chunk), ``next`` (what is published from now on; also without the argument), an offset,
a timestamp, or an age as text (``1h``): the first chunk that is not older. Where an offset is not there any more it
begins with the oldest message, and where it is not there yet it waits for it (RabbitMQ 3.10.8, seen). A negative
number -N is the last N messages, as in LavinMQ.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from amqpd.spec.arguments import INTEGER_TYPES, max_age_ms
from amqpd.wire.table import Field

FIRST: Final = "first"
LAST: Final = "last"
NEXT: Final = "next"
OFFSET: Final = "offset"
BACK: Final = "back"
SINCE: Final = "since"


class Start(NamedTuple):
    """``value``: of OFFSET the offset, of BACK how many messages, of SINCE milliseconds since 1970."""

    kind: str
    value: int = 0


def start_of(field: Field | None, now: int) -> Start | None:
    """What the argument says; None when it cannot be understood. ``now`` in milliseconds since 1970."""
    if field is None:
        return Start(NEXT)
    value = field.value
    if field.kind == "T" and isinstance(value, int):
        return Start(SINCE, value * 1000)
    if field.kind in INTEGER_TYPES and isinstance(value, int):
        return Start(OFFSET, value) if value >= 0 else Start(BACK, -value)
    if field.kind in "Sx" and isinstance(value, bytes):
        text = value.decode("utf-8", "replace")
        if text in (FIRST, LAST, NEXT):
            return Start(text)
        age = max_age_ms(text)
        if age is not None:
            return Start(SINCE, now - age)
    return None

"""The arguments of a delayed exchange besides ``x-delayed-type``."""

from __future__ import annotations

from enum import Enum
from typing import Final

from amqpd.spec.arguments import INTEGER_TYPES, described
from amqpd.spec.errors import PreconditionFailed
from amqpd.wire.table import Table

OVERDUE: Final = "x-delayed-overdue"
SPREAD: Final = "x-delayed-spread"
MAX_PENDING: Final = "x-delayed-max-pending"
DEAD_LETTER_EXCHANGE: Final = "x-dead-letter-exchange"
DEAD_LETTER_ROUTING_KEY: Final = "x-dead-letter-routing-key"

SPREAD_MS: Final = 60_000


class Overdue(Enum):
    """What becomes of messages whose time passed while the broker was down."""

    FIRE = "fire"
    SKIP = "skip"
    SPREAD = "spread"


class Options:
    """``spread_ms``: the time over which overdue messages are spread. ``max_pending``: -1 is any number."""

    def __init__(self, arguments: Table) -> None:
        """Raises PreconditionFailed (406, closes the channel) on a value that will not do."""
        word = _text(arguments, OVERDUE)
        if word is not None and word not in [one.value for one in Overdue]:
            raise PreconditionFailed(f"Invalid argument, '{OVERDUE}' must be fire, skip or spread, not '{word}'")
        self.overdue = Overdue(word) if word is not None else Overdue.FIRE
        self.spread_ms = _number(arguments, SPREAD, SPREAD_MS)
        self.max_pending = _number(arguments, MAX_PENDING, -1)
        self.dead_letter_exchange = _text(arguments, DEAD_LETTER_EXCHANGE)
        self.dead_letter_routing_key = _text(arguments, DEAD_LETTER_ROUTING_KEY)

    @property
    def dead_letters(self) -> bool:
        return self.dead_letter_exchange is not None


def _text(arguments: Table, name: str) -> str | None:
    field = arguments.get(name)
    if field is None:
        return None
    if field.kind != "S":
        raise PreconditionFailed(f"Invalid argument, '{name}' must be a string")
    return described(field.value)


def _number(arguments: Table, name: str, default: int) -> int:
    field = arguments.get(name)
    if field is None:
        return default
    if field.kind not in INTEGER_TYPES or not isinstance(field.value, int) or field.value < 0:
        raise PreconditionFailed(f"Invalid argument, '{name}' must be a whole number, 0 or more")
    return field.value

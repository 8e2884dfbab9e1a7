"""Header tables with the type of each value, for messages that the broker itself makes."""

from typing import Any

from .client import Message
from .codec import Typed, TypedReader


class _Anything:
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "ANY"


ANY: Any = _Anything()


def typed_headers(message: Message) -> dict[str, Typed]:
    """The header table of a message, which must be the first of its properties, with the type of each value."""
    reader = TypedReader(message.raw_properties)
    flags = reader.unpack(">H")
    assert flags & 0xE000 == 0x2000, f"the headers are not the first property: {flags:#x}"
    return reader.table()


def text(value: Any) -> Typed:
    return Typed("S", value)


def texts(*values: Any) -> Typed:
    return Typed("A", [text(value) for value in values])


def flag(value: Any) -> Typed:
    return Typed("t", value)


def number(value: Any) -> Typed:
    """Of 64 bits."""
    return Typed("l", value)


def small(value: Any) -> Typed:
    """A number of 32 bits."""
    return Typed("I", value)

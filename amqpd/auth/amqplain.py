"""The AMQPLAIN response: LOGIN and PASSWORD out of the body of a field table.

A small reader of its own: before the login nothing of a client is trusted, and two strings are all that is
wanted. Other fields are stepped over by their length, nested tables without looking inside.
"""

from __future__ import annotations

from typing import Final

# Bytes of a value by its type octet (the types RabbitMQ knows); -4: four octets of length come first.
_VALUE_SIZES: Final[dict[int, int]] = {
    ord("t"): 1,
    ord("b"): 1,
    ord("B"): 1,
    ord("s"): 2,
    ord("u"): 2,
    ord("I"): 4,
    ord("i"): 4,
    ord("l"): 8,
    ord("f"): 4,
    ord("d"): 8,
    ord("D"): 5,
    ord("T"): 8,
    ord("V"): 0,
    ord("S"): -4,
    ord("x"): -4,
    ord("A"): -4,
    ord("F"): -4,
}
_LENGTH_PREFIX: Final = -4


def read_strings(body: bytes, wanted: tuple[str, ...]) -> dict[str, bytes | None]:
    """Return the wanted fields that a table body (no length prefix) holds: long strings, None for another
    type.

    The first field of a name counts, as in RabbitMQ. Raises ValueError unless ``body`` is whole fields to its
    end.
    """
    names = {name.encode("ascii"): name for name in wanted}
    found: dict[str, bytes | None] = {}
    at = 0
    while at < len(body):
        key_end = at + 1 + body[at]
        if key_end >= len(body):
            raise ValueError("a field ends before its value")
        start, end = _value_at(body, key_end)
        name = names.get(body[at + 1 : key_end])
        if name is not None and name not in found:
            found[name] = body[start:end] if body[key_end] == ord("S") else None
        at = end
    return found


def _value_at(body: bytes, at: int) -> tuple[int, int]:
    """Where the value whose type octet is at ``at`` starts and ends."""
    size = _VALUE_SIZES.get(body[at])
    if size is None:
        raise ValueError(f"a field has the unknown type {body[at]}")
    start = at + 1
    if size == _LENGTH_PREFIX:
        start += 4
        size = int.from_bytes(body[at + 1 : start], "big")  # too short a length fails below
    if start + size > len(body):
        raise ValueError("a field is longer than the table")
    return start, start + size

"""What makes two messages the same: the value of a header, as 16 octets.

Equal values give equal keys whatever the client's encoding: integers and timestamps of any width, both floats, text and
octets, tables in any order. Values of different sorts are different: 1, 1.0, true and "1" are four.
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import Final

from amqpd.spec.arguments import INTEGER_TYPES
from amqpd.wire.content import ContentHeader, spans
from amqpd.wire.table import Field, decode_table

HEADER: Final = b"x-deduplication-header"
TTL_HEADER: Final = b"x-cache-ttl"
KEY_SIZE: Final = 16  # octets

_DOUBLE: Final = struct.Struct(">d")


def key_of(header: ContentHeader) -> bytes | None:
    """The key of a message; None where it has no such header and so is no duplicate of anything."""
    octets = header.headers
    # Most messages that have not got it are told by the first look.
    if octets is None or HEADER not in octets:
        return None
    field = _field(octets, HEADER)
    return None if field is None else blake2b(_canonical(field), digest_size=KEY_SIZE).digest()


def own_ttl(header: ContentHeader) -> int | None:
    """The message's own x-cache-ttl in milliseconds, an integer or a text with one; None where it has none."""
    octets = header.headers
    if octets is None or TTL_HEADER not in octets:
        return None
    field = _field(octets, TTL_HEADER)
    return None if field is None else integer(field)


def integer(field: Field) -> int | None:
    """An integer, or a text that is one; None for anything else."""
    value = field.value
    if field.kind in INTEGER_TYPES and isinstance(value, int):
        return value
    if field.kind == "S" and isinstance(value, bytes) and len(value) <= 20:
        try:
            return int(value)
        except ValueError:
            return None
    return None


def _field(octets: bytes, name: bytes) -> Field | None:
    for span in spans(octets, 0, True):
        if span.name == name:
            (field,) = decode_table(octets[span.start : span.end]).values()
            return field
    return None


def _canonical(field: Field) -> bytes:
    value = field.value
    if isinstance(value, bool):
        return b"t1" if value else b"t0"
    if isinstance(value, int):
        return b"i%d" % value
    if isinstance(value, float):
        return b"d" + _DOUBLE.pack(value)
    if isinstance(value, bytes):
        return b"S" + value
    if isinstance(value, tuple):
        return b"D%d,%d" % value
    if isinstance(value, list):
        return b"A" + _framed([_canonical(item) for item in value])
    if isinstance(value, dict):
        parts: list[bytes] = []
        for name in sorted(value):
            parts += [name.encode("utf-8", "surrogateescape"), _canonical(value[name])]
        return b"F" + _framed(parts)
    return b"V"


def _framed(parts: list[bytes]) -> bytes:
    """Each with its length before it, so that no two lists of parts look the same."""
    return b"".join([len(part).to_bytes(4) + part for part in parts])

"""Field tables, type-preserving: what comes in as an ``I`` goes out as an ``I``.

RabbitMQ forwards tables untouched, so a codec that re-types values (smallest integer, float for double) would
change what clients see. Names need not be UTF-8 either: odd octets become surrogates and come out as
they were. A value is a ``Field``: its type octet and the Python value. Accepted types are those of
RabbitMQ: ``S T b B s u I i d f l L t D F A x V`` (``l`` and ``L`` are both signed 64-bit).
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple, TypeAlias

NESTING_MAX: Final = 64  # a table of tables this deep is an attack, not a message


class Field(NamedTuple):
    """A typed value: ``kind`` is the type octet as a character.

    ``S`` and ``x`` hold bytes, ``D`` a (scale, integer) pair, ``A`` a list of fields, ``F`` a table.
    """

    kind: str
    value: FieldValue


FieldValue: TypeAlias = "bool | int | float | bytes | tuple[int, int] | list[Field] | dict[str, Field] | None"
Table = dict[str, Field]


class TableError(ValueError):
    """Malformed table bytes."""


_FIXED: Final[dict[str, struct.Struct]] = {
    "b": struct.Struct(">b"),
    "B": struct.Struct(">B"),
    "s": struct.Struct(">h"),
    "u": struct.Struct(">H"),
    "I": struct.Struct(">i"),
    "i": struct.Struct(">I"),
    "l": struct.Struct(">q"),
    "L": struct.Struct(">q"),
    "d": struct.Struct(">d"),
    "T": struct.Struct(">Q"),
}
_LENGTH: Final = struct.Struct(">I")
_DECIMAL: Final = struct.Struct(">Bi")
_FLOAT: Final = struct.Struct(">f")
_DOUBLE: Final = struct.Struct(">d")


def decode_table(data: bytes) -> Table:
    """Decode the body of a table (without its length). Raises TableError."""
    try:
        return _table(data, 0, len(data), 0)
    except (struct.error, IndexError) as error:
        raise TableError(str(error)) from None


def decode_field(data: bytes, at: int) -> Field:
    """Decode the one field whose type octet lies at ``at``. Raises TableError."""
    try:
        return _field(data, at, len(data), 0)[0]
    except (struct.error, IndexError) as error:
        raise TableError(str(error)) from None


def _table(data: bytes, at: int, end: int, depth: int) -> Table:
    if depth > NESTING_MAX:
        raise TableError("nested too deeply")
    table: Table = {}
    while at < end:
        name_end = at + 1 + data[at]
        if name_end >= end:
            raise TableError("name runs past the table")
        name = data[at + 1 : name_end].decode("utf-8", "surrogateescape")
        table[name], at = _field(data, name_end, end, depth)
    return table


def _field(data: bytes, at: int, end: int, depth: int) -> tuple[Field, int]:
    kind = chr(data[at])
    at += 1
    fixed = _FIXED.get(kind)
    if fixed is not None:
        value: FieldValue = fixed.unpack_from(data, at)[0]
        at += fixed.size
    elif kind == "t":
        value, at = data[at] != 0, at + 1
    elif kind == "V":
        value = None
    elif kind == "f":
        value, at = _widened(data[at : at + 4]), at + 4
    elif kind == "D":
        scale, number = _DECIMAL.unpack_from(data, at)
        value, at = (scale, number), at + _DECIMAL.size
    elif kind in "SxFA":
        start = at + 4
        at = start + _LENGTH.unpack_from(data, at)[0]
        if at > end:
            raise TableError("value runs past the table")
        if kind == "F":
            value = _table(data, start, at, depth + 1)
        elif kind == "A":
            value = _array(data, start, at, depth + 1)
        else:
            value = data[start:at]
    else:
        raise TableError(f"unknown field type {kind!r}")
    if at > end:
        raise TableError("value runs past the table")
    return Field(kind, value), at


def _widened(octets: bytes) -> float:
    """A 32-bit float as a double. NaNs go by hand: the processor would set a bit of a signalling one."""
    value = float(_FLOAT.unpack(octets)[0])
    if value != value:
        bits = int.from_bytes(octets)
        wide = (bits >> 31) << 63 | 0x7FF << 52 | (bits & 0x7FFFFF) << 29
        value = float(_DOUBLE.unpack(wide.to_bytes(8))[0])
    return value


def _narrowed(value: float) -> bytes:
    """What ``_widened`` was given."""
    if value == value:
        return _FLOAT.pack(value)
    bits = int.from_bytes(_DOUBLE.pack(value))
    mantissa = (bits >> 29) & 0x7FFFFF or 1 << 22  # 0 would be an infinity
    return ((bits >> 63) << 31 | 0xFF << 23 | mantissa).to_bytes(4)


def _array(data: bytes, at: int, end: int, depth: int) -> list[Field]:
    if depth > NESTING_MAX:
        raise TableError("nested too deeply")
    items: list[Field] = []
    while at < end:
        item, at = _field(data, at, end, depth)
        items.append(item)
    return items


def encode_table(table: Table) -> bytes:
    """The body of a table, without its length."""
    parts: list[bytes] = []
    for name, field in table.items():
        octets = name.encode("utf-8", "surrogateescape")
        parts.append(bytes((len(octets),)))
        parts.append(octets)
        parts.append(encode_field(field))
    return b"".join(parts)


def encode_field(field: Field) -> bytes:
    """Type octet and value."""
    kind, value = field
    octet = kind.encode("latin-1")
    if kind == "t":
        return octet + (b"\x01" if value else b"\x00")
    if kind == "V":
        return octet
    if kind == "f":
        assert isinstance(value, float)
        return octet + _narrowed(value)
    if kind == "D":
        assert isinstance(value, tuple)
        return octet + _DECIMAL.pack(*value)
    if kind in "SxFA":
        if isinstance(value, dict):
            body = encode_table(value)
        elif isinstance(value, list):
            body = b"".join([encode_field(item) for item in value])
        else:
            assert isinstance(value, bytes)
            body = value
        return octet + _LENGTH.pack(len(body)) + body
    return octet + _FIXED[kind].pack(value)


def longstr(text: str) -> Field:
    return Field("S", text.encode())


def boolean(value: bool) -> Field:
    return Field("t", value)


def plain(field: Field) -> object:
    """The value as a Python programmer writes it: str where a longstr is UTF-8, float for a decimal."""
    value = field.value
    if isinstance(value, bytes) and field.kind == "S":
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    if isinstance(value, dict):
        return {_readable(name): plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, tuple):
        scale, number = value
        return number / 10**scale
    return value


def _readable(name: str) -> str:
    """A name that any encoder takes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")

"""Argument tables as JSON, and JSON as argument tables, with the field types RabbitMQ chooses."""

from __future__ import annotations

import base64
import math
from typing import Final

from amqpd.wire.table import Field, FieldValue, Table, plain

NAME_BYTES_MAX: Final = 255  # a table's names are short strings
NOT_UTF8: Final = "Not UTF-8, base64 is: "  # what RabbitMQ 3.10 writes for octets that are no text


def table_json(table: Table) -> dict[str, object]:
    """A table as JSON shows it; types that JSON does not know become the nearest it has, as in RabbitMQ.

    A void becomes null. RabbitMQ 3.10 writes the text ``undefined`` there, which reads back as a text.
    """
    return {_name(name): _shown(plain(field)) for name, field in table.items()}


def _shown(value: object) -> object:
    if isinstance(value, bytes):
        return _text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no word for it
    if isinstance(value, list):
        return [_shown(one) for one in value]
    if isinstance(value, dict):
        return {name: _shown(one) for name, one in value.items()}
    return value


def _text(octets: bytes) -> str:
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return NOT_UTF8 + base64.b64encode(octets).decode("ascii")


def _name(name: str) -> str:
    """A name whose octets are no UTF-8 has replacement characters in their place."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def table_of(values: dict[str, object]) -> Table:
    """JSON as a table: whole numbers ``l``, others ``d``, texts ``S``, as RabbitMQ 3.10.8 imports them.

    RabbitMQ refuses null; here it is a void. Raises ValueError for a number of more than 64 bits or a long name.
    """
    table: Table = {}
    for name, value in values.items():
        if len(name.encode()) > NAME_BYTES_MAX:
            raise ValueError(f"the name of an argument may have {NAME_BYTES_MAX} bytes")
        table[name] = _field(name, value)
    return table


def _field(name: str, value: object) -> Field:
    kind, made = _typed(name, value)
    return Field(kind, made)


def _typed(name: str, value: object) -> tuple[str, FieldValue]:
    if isinstance(value, str):
        return "S", value.encode()
    if isinstance(value, bool):
        return "t", value
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise ValueError(f"argument '{name}' is a number of more than 64 bits")
        return "l", value
    if isinstance(value, float):
        return "d", value
    if isinstance(value, list):
        return "A", [_field(name, one) for one in value]
    if isinstance(value, dict):
        return "F", table_of(value)
    assert value is None, f"{value!r} is no JSON"
    return "V", None

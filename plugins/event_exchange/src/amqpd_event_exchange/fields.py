"""An event's fields as message headers: the types RabbitMQ 3.10 gives them (interop/conformance/test_events.py).

Numbers are ``l``, texts ``S``, lists ``A``, objects ``F``. A field table that a client sent (arguments, client
properties) becomes an array of texts: each field as Erlang prints it, such as ``{<<"x-max-length">>,signedint,5}``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from amqpd.broker.events import Event
from amqpd.wire.table import NESTING_MAX, Field, Table, boolean, longstr

# Names of Erlang's AMQP client for the types of a field.
_NAMES: Final = {
    "I": "signedint",
    "S": "longstr",
    "t": "bool",
    "F": "table",
    "A": "array",
    "l": "long",
    "L": "long",
    "d": "double",
    "f": "float",
    "D": "decimal",
    "T": "timestamp",
    "x": "binary",
    "V": "void",
    "b": "byte",
    "B": "unsignedbyte",
    "s": "short",
    "u": "unsignedshort",
    "i": "unsignedint",
}
_ESCAPES: Final = {
    8: "\\b",
    9: "\\t",
    10: "\\n",
    11: "\\v",
    12: "\\f",
    13: "\\r",
    27: "\\e",
    34: '\\"',
    92: "\\\\",
}
# Fields that are tables of a client's.
TABLES: Final = ("arguments", "client_properties")
NUMBER_MIN: Final = -(1 << 63)
NUMBER_MAX: Final = (1 << 63) - 1


def headers_of(event: Event) -> Table:
    """The header table of an event's message."""
    table = {name: _field(name, value) for name, value in event.fields.items()}
    reason = event.fields.get("error")
    if event.name == "user.authentication.failure" and isinstance(reason, str):
        # An Erlang string is a list of numbers, and so RabbitMQ sends it: programs join the characters.
        table["error"] = Field("A", [Field("l", ord(letter)) for letter in reason])
    table["timestamp_in_ms"] = Field("l", event.timestamp)
    return table


def _field(name: str, value: object) -> Field:
    if name in TABLES:
        assert isinstance(value, dict)
        return printed(value)
    return field_of(value, 0)


def field_of(value: object, depth: int) -> Field:
    """A value of JSON as a typed field. ``depth``: the lists and objects it is in."""
    if isinstance(value, bool):
        return boolean(value)
    if isinstance(value, int):
        # A policy may hold any number; a field has 64 bits.
        return Field("l", min(max(value, NUMBER_MIN), NUMBER_MAX))
    if isinstance(value, float):
        return Field("d", value)
    if isinstance(value, str):
        return longstr(value)
    if value is None:
        return longstr("null")
    if depth >= NESTING_MAX - 2:
        return longstr("...")
    if isinstance(value, dict):
        return Field("F", {_name(str(name)): field_of(item, depth + 1) for name, item in value.items()})
    assert isinstance(value, list), f"an event cannot hold {value!r}"
    return Field("A", [field_of(item, depth + 1) for item in value])


def _name(name: str) -> str:
    """A field's name has at most 255 octets."""
    octets = name.encode("utf-8", "replace")
    return octets[:255].decode("utf-8", "ignore")


def printed(table: Table) -> Field:
    """A client's table, each field as Erlang prints it."""
    return Field("A", [Field("S", _term(name, field).encode("latin-1")) for name, field in table.items()])


def _term(name: str, field: Field) -> str:
    return f"{{{_binary(name.encode('utf-8', 'surrogateescape'))},{_typed(field)}}}"


def _typed(field: Field) -> str:
    return f"{_NAMES[field.kind]},{_value(field)}"


def _value(field: Field) -> str:
    value = field.value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return _binary(value)
    if isinstance(value, dict):
        return _list(_term(name, item) for name, item in value.items())
    if isinstance(value, list):
        return _list(f"{{{_typed(item)}}}" for item in value)
    if isinstance(value, tuple):
        return f"{{{value[0]},{value[1]}}}"
    if isinstance(value, float):
        return _float(value)
    return "undefined" if value is None else str(value)


def _list(items: Iterable[str]) -> str:
    return f"[{','.join(items)}]"


def _binary(octets: bytes) -> str:
    """Readable where all of it is Latin-1 that prints; the result is Latin-1, too."""
    if not octets:
        return "<<>>"
    if all(32 <= octet < 127 or octet >= 160 or octet in _ESCAPES for octet in octets):
        return f'<<"{"".join(_ESCAPES.get(octet) or chr(octet) for octet in octets)}">>'
    return f"<<{','.join(map(str, octets))}>>"


def _float(value: float) -> str:
    """Erlang has a point in every float, and no zeros in an exponent."""
    mantissa, _, exponent = repr(value).partition("e")
    if not exponent:
        return mantissa
    return f"{mantissa}{'' if '.' in mantissa else '.0'}e{int(exponent)}"

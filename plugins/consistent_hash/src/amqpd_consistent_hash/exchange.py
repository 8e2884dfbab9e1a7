"""x-consistent-hash: a binding's key is its weight, and each message goes to exactly one destination.

What is hashed: the routing key, or the header or property that the exchange's arguments name. A message without it
hashes as nothing, so that all of them go to one destination, as in RabbitMQ.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from amqpd.broker.exchange import Binding, Exchange
from amqpd.broker.queue import Destination
from amqpd.spec.arguments import INTEGER_TYPES, described
from amqpd.spec.constants import FLAG_CORRELATION_ID, FLAG_MESSAGE_ID, FLAG_TIMESTAMP
from amqpd.spec.declaring import check_is_text
from amqpd.spec.errors import PreconditionFailed
from amqpd.wire.content import ContentHeader, property_offset, spans
from amqpd.wire.table import Field, Table, decode_table, encode_field
from amqpd_consistent_hash.slots import Slots

if TYPE_CHECKING:
    from amqpd.broker.router import Route

KIND: Final = "x-consistent-hash"
HASH_HEADER: Final = "hash-header"
HASH_PROPERTY: Final = "hash-property"
PROPERTIES: Final = {
    "message_id": FLAG_MESSAGE_ID,
    "correlation_id": FLAG_CORRELATION_ID,
    "timestamp": FLAG_TIMESTAMP,
}

_WEIGHT: Final = re.compile(r"[+-]?[0-9]+", re.ASCII)
_ESCAPES: Final = {8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 27: "\\e", 34: '\\"', 92: "\\\\"}


class ConsistentHashExchange(Exchange):
    """Arguments ``hash-header`` (its name) or ``hash-property`` (one of ``PROPERTIES``), not both.

    A destination bound twice counts once: with the weight of the first of its bindings that is still there.
    """

    def __init__(
        self, vhost: str, name: str, durable: bool, auto_delete: bool, internal: bool, arguments: Table
    ) -> None:
        """Raises PreconditionFailed (406) on arguments that do not say what to hash."""
        super().__init__(vhost, name, KIND, durable, auto_delete, internal, arguments)
        self._header, self._property = hashed(arguments, name, vhost)
        self.key_only = self._header is None and self._property == 0
        self._slots: Slots[Destination] = Slots()
        self._bound: dict[Destination, list[Binding]] = {}

    def validate_binding(self, routing_key: str, arguments: Table) -> None:
        weight(routing_key)

    def binding_added(self, binding: Binding) -> None:
        bindings = self._bound.setdefault(binding.destination, [])
        bindings.append(binding)
        if len(bindings) == 1:
            self._enter(binding)

    def binding_removed(self, binding: Binding) -> None:
        bindings = self._bound[binding.destination]
        in_force = bindings[0]
        bindings.remove(binding)
        if binding is in_force:
            self._slots.remove(_member(binding))
            if bindings:
                self._enter(bindings[0])
        if not bindings:
            del self._bound[binding.destination]

    def _enter(self, binding: Binding) -> None:
        self._slots.add(_member(binding), weight(binding.routing_key), binding.destination)

    def route(self, routing_key: str, header: ContentHeader, found: list[Destination]) -> None:
        if self._header is not None:
            octets = header_octets(header, self._header)
        elif self._property:
            octets = property_octets(header, self._property)
        else:
            octets = routing_key.encode("utf-8", "surrogateescape")
        destination = self._slots.find(octets)
        if destination is not None:
            found.append(destination)

    def route_all(self, route: Route, keys: list[str], header: ContentHeader, found: list[Destination]) -> None:
        """CC and BCC make no copies here: RabbitMQ hashes the routing key alone."""
        self.route(keys[0], header, found)


def hashed(arguments: Table, name: str, vhost: str) -> tuple[bytes | None, int]:
    """The header to hash, None for none, and the flag of the property to hash, 0 for none.

    Raises PreconditionFailed (406) with RabbitMQ's words. For a name that is no text RabbitMQ 3.10 has none: it ends
    the connection with 541.
    """
    for key in (HASH_HEADER, HASH_PROPERTY):
        if key in arguments:
            check_is_text(key, arguments[key], "exchange", name, vhost)
    if HASH_HEADER in arguments and HASH_PROPERTY in arguments:
        raise PreconditionFailed(f"{HASH_HEADER} and {HASH_PROPERTY} are mutually exclusive")
    if HASH_HEADER in arguments:
        header = arguments[HASH_HEADER].value
        assert isinstance(header, bytes)
        return header, 0
    if HASH_PROPERTY in arguments:
        wanted = described(arguments[HASH_PROPERTY].value)
        if wanted not in PROPERTIES:
            raise PreconditionFailed(f"Unsupported property: {wanted}")
        return None, PROPERTIES[wanted]
    return None, 0


def weight(key: str) -> int:
    """The weight a binding key gives. Raises PreconditionFailed (406) when it is no integer or below 1."""
    if not _WEIGHT.fullmatch(key):
        raise PreconditionFailed(f"The binding key must be an integer: {erlang_binary(key)}")
    value = int(key)
    if value < 1:
        raise PreconditionFailed("The binding key must be greater than 0")
    return value


def erlang_binary(key: str) -> str:
    """A key as RabbitMQ shows it in this text: quoted where its octets are printable Latin-1, else as numbers."""
    octets = key.encode("utf-8", "surrogateescape")
    if not octets:
        return "<<>>"
    if all(octet in _ESCAPES or 32 <= octet < 127 or octet >= 160 for octet in octets):
        quoted = b"".join([_ESCAPES[octet].encode() if octet in _ESCAPES else bytes((octet,)) for octet in octets])
        return f'<<"{quoted.decode("utf-8", "replace")}">>'
    return f"<<{','.join([str(octet) for octet in octets])}>>"


def header_octets(header: ContentHeader, name: bytes) -> bytes:
    """What a message hashes as by its header ``name``: equal for equal values, empty where it has none.

    Integers are equal whatever their width, since clients choose it by themselves; so are the two floats.
    """
    if header.headers is None:
        return b""
    for span in spans(header.headers, 0, True):
        if span.name == name:
            (field,) = decode_table(header.headers[span.start : span.end]).values()
            return _octets(field)
    return b""


def _octets(field: Field) -> bytes:
    if field.kind in INTEGER_TYPES:
        return f"l{field.value!r}".encode()
    if field.kind == "f":
        return encode_field(Field("d", field.value))
    return encode_field(field)


def property_octets(header: ContentHeader, flag: int) -> bytes:
    """What a message hashes as by the property with this flag: its value on the wire, empty where it has none."""
    payload = header.payload
    if not int.from_bytes(payload[12:14]) & flag:
        return b""
    at = property_offset(payload, flag)
    return payload[at : at + 8] if flag == FLAG_TIMESTAMP else payload[at : at + 1 + payload[at]]


def _member(binding: Binding) -> str:
    """A queue and an exchange may have the same name."""
    return f"{binding.destination_type} {binding.destination.name}"

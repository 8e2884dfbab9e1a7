"""Headers exchange: binding arguments against the message's header table. Hot enough to be compiled.

1. ``x-match``: ``all`` (default), ``any``, ``all-with-x``, ``any-with-x``. The first two skip argument keys that start
   with ``x-``; the other two skip only ``x-match`` itself.
2. A void argument asks only that the key exists. Other values must be equal, without coercion between strings and
   numbers, nor between integers and floats (RabbitMQ 3.13: 1 is not 1.0).
3. No condition at all: ``all`` matches everything, ``any`` nothing.

Bindings with the conditions of ``all`` are found through one of their conditions, so that a message looks only at
bindings it shares a header value with, not at all of them.
"""

from __future__ import annotations

from typing import Final, final

from amqpd.broker.exchange import Binding, Exchange
from amqpd.broker.queue import Destination
from amqpd.spec.arguments import TYPE_NAMES, described
from amqpd.spec.errors import PreconditionFailed
from amqpd.wire.content import ContentHeader
from amqpd.wire.table import Field, Table

MODES: Final = ("all", "any", "all-with-x", "any-with-x")


def comparable(field: Field) -> object:
    """A value that is equal exactly where RabbitMQ says equal: numbers by class and value, the rest by type."""
    if isinstance(field.value, bool):
        return ("t", field.value)
    if isinstance(field.value, int):
        return ("T" if field.kind == "T" else "int", field.value)
    if isinstance(field.value, float):
        return ("float", field.value)
    if isinstance(field.value, list):
        return ("A", tuple([comparable(item) for item in field.value]))
    if isinstance(field.value, dict):
        return ("F", tuple(sorted([(name, repr(comparable(item))) for name, item in field.value.items()])))
    return (field.kind, field.value)


@final
class Match:
    """The conditions of one binding: key and wanted value, None where existence is enough."""

    def __init__(self, binding: Binding) -> None:
        mode = binding.arguments.get("x-match")
        name = described(mode.value) if mode is not None else "all"
        self.destination: Destination = binding.destination
        self.any: bool = name.startswith("any")
        self.conditions: list[tuple[str, object | None]] = []
        for key, field in binding.arguments.items():
            if key == "x-match" or (key.startswith("x-") and not name.endswith("-with-x")):
                continue
            self.conditions.append((key, None if field.kind == "V" else comparable(field)))

    def place(self) -> tuple[str, object] | None:
        """The condition it is found by; None when it has to be looked at for every message."""
        if not self.any:
            for key, wanted in self.conditions:
                if wanted is not None:
                    return (key, wanted)
        return None

    def matches(self, headers: dict[str, object]) -> bool:
        for key, wanted in self.conditions:
            met = key in headers and (wanted is None or headers[key] == wanted)
            if met == self.any:
                return self.any
        return not self.any


@final
class HeadersExchange(Exchange):
    def __init__(
        self, vhost: str, name: str, durable: bool, auto_delete: bool, internal: bool, arguments: Table
    ) -> None:
        super().__init__(vhost, name, "headers", durable, auto_delete, internal, arguments)
        self.key_only = False
        # By the first condition that asks for a value; the bindings without one lie in ``others``.
        self.by_condition: dict[tuple[str, object], list[Match]] = {}
        self.others: list[Match] = []
        self.places: dict[Binding, tuple[tuple[str, object] | None, Match]] = {}

    def validate_binding(self, routing_key: str, arguments: Table) -> None:
        mode = arguments.get("x-match")
        if mode is None:
            return
        if mode.kind != "S":
            raise PreconditionFailed(
                f"Invalid x-match field type {TYPE_NAMES[mode.kind]} (value {described(mode.value)}); expected longstr"
            )
        name = described(mode.value)
        if name not in MODES:
            raise PreconditionFailed(
                f'Invalid x-match field value <<"{name}">>; expected all, any, all-with-x, or any-with-x'
            )

    def binding_added(self, binding: Binding) -> None:
        match = Match(binding)
        place = match.place()
        if place is None:
            self.others.append(match)
        else:
            self.by_condition.setdefault(place, []).append(match)
        self.places[binding] = (place, match)

    def binding_removed(self, binding: Binding) -> None:
        place, match = self.places.pop(binding)
        if place is None:
            self.others.remove(match)
            return
        row = self.by_condition[place]
        row.remove(match)
        if not row:
            del self.by_condition[place]

    def route(self, routing_key: str, header: ContentHeader, found: list[Destination]) -> None:
        headers: dict[str, object] = {}
        for key, field in header.table().items():
            headers[key] = comparable(field)
        for pair in headers.items():
            row = self.by_condition.get(pair)
            if row is not None:
                for match in row:
                    if match.matches(headers):
                        found.append(match.destination)
        for match in self.others:
            if match.matches(headers):
                found.append(match.destination)

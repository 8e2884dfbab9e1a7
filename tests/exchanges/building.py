"""What the tests of exchange types share: destinations, bindings, headers."""

from __future__ import annotations

from amqpd.broker.exchange import Binding, Exchange
from amqpd.broker.queue import Destination
from amqpd.broker.registry import ExchangeFactory
from amqpd.wire.content import ContentHeader, header_from_properties, with_headers
from amqpd.wire.table import Table

NO_HEADERS = header_from_properties(b"\x00\x00", 0)


def make(kind: ExchangeFactory, arguments: Table | None = None) -> Exchange:
    return kind("/", "x", True, False, False, arguments or {})


def destination(name: str) -> Destination:
    return Destination("/", name, True)


def bind(exchange: Exchange, to: Destination, routing_key: str = "", arguments: Table | None = None) -> Binding:
    binding = Binding(exchange, to, routing_key, arguments or {})
    assert exchange.add(binding)
    return binding


def unbind(exchange: Exchange, binding: Binding) -> None:
    assert exchange.remove(binding.key) is binding


def header_with(table: Table) -> ContentHeader:
    return with_headers(NO_HEADERS, table)


def routed(exchange: Exchange, routing_key: str = "", header: ContentHeader = NO_HEADERS) -> set[str]:
    """Names of the destinations of a message."""
    found: list[Destination] = []
    exchange.route(routing_key, header, found)
    return {to.name for to in found}

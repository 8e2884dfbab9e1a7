"""What every broker has."""

from __future__ import annotations

from amqpd.broker.registry import Registry
from amqpd.features import builtin


def test_the_types_and_extensions_of_every_broker() -> None:
    registry = Registry()
    builtin.register(registry)
    assert {"direct", "fanout", "topic", "headers"} <= set(registry.exchange_types)
    assert "classic" in registry.queue_types
    names = [type(extension).__name__ for extension in registry.route_extensions]
    assert {"SenderSelected", "AlternateExchange"} <= set(names)
    for kind, factory in registry.exchange_types.items():
        exchange = factory("/", "name", True, False, False, {})
        assert (exchange.kind, exchange.name, exchange.durable) == (kind, "name", True)

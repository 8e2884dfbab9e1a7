"""Alternate exchange: where a message goes when no binding of its exchange matched."""

from __future__ import annotations

from amqpd.broker.exchange import Exchange
from amqpd.broker.router import RouteExtension
from amqpd.broker.vhost import VHost
from amqpd.spec.arguments import ALTERNATE_EXCHANGE


class AlternateExchange(RouteExtension):
    def unrouted(self, vhost: VHost, exchange: Exchange) -> Exchange | None:
        field = exchange.arguments.get(ALTERNATE_EXCHANGE)
        if field is None or not isinstance(field.value, bytes):
            return None
        return vhost.exchanges.get(field.value.decode("utf-8", "replace"))

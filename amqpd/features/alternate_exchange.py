"""Alternate exchange: where a message goes when no binding of its exchange matched."""

from __future__ import annotations

from amqpd.broker.exchange import Exchange
from amqpd.broker.router import RouteExtension
from amqpd.broker.vhost import VHost


class AlternateExchange(RouteExtension):
    def unrouted(self, vhost: VHost, exchange: Exchange) -> Exchange | None:
        return vhost.exchanges.get(exchange.alternate) if exchange.alternate is not None else None

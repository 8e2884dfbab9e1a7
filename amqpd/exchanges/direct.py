"""Direct exchange: the binding key equals the routing key. Hot."""

from __future__ import annotations

from typing import final

from amqpd.broker.exchange import Binding, Exchange
from amqpd.broker.queue import Destination
from amqpd.wire.content import ContentHeader
from amqpd.wire.table import Table


@final
class DirectExchange(Exchange):
    def __init__(
        self, vhost: str, name: str, durable: bool, auto_delete: bool, internal: bool, arguments: Table
    ) -> None:
        super().__init__(vhost, name, "direct", durable, auto_delete, internal, arguments)
        self.by_key: dict[str, list[Destination]] = {}

    def binding_added(self, binding: Binding) -> None:
        self.by_key.setdefault(binding.routing_key, []).append(binding.destination)

    def binding_removed(self, binding: Binding) -> None:
        destinations = self.by_key[binding.routing_key]
        destinations.remove(binding.destination)
        if not destinations:
            del self.by_key[binding.routing_key]

    def route(self, routing_key: str, header: ContentHeader, found: list[Destination]) -> None:
        destinations = self.by_key.get(routing_key)
        if destinations is not None:
            found.extend(destinations)

"""Fanout exchange: every binding. Hot."""

from __future__ import annotations

from typing import final

from amqpd.broker.exchange import Binding, Exchange
from amqpd.broker.queue import Destination
from amqpd.wire.content import ContentHeader
from amqpd.wire.table import Table


@final
class FanoutExchange(Exchange):
    def __init__(
        self, vhost: str, name: str, durable: bool, auto_delete: bool, internal: bool, arguments: Table
    ) -> None:
        super().__init__(vhost, name, "fanout", durable, auto_delete, internal, arguments)

    def binding_added(self, binding: Binding) -> None:
        """The table of bindings is index enough."""

    def binding_removed(self, binding: Binding) -> None:
        """The table of bindings is index enough."""

    def route(self, routing_key: str, header: ContentHeader, found: list[Destination]) -> None:
        for binding in self.bindings.values():
            found.append(binding.destination)

"""x-random and x-local-random: one of the bindings, each as likely as any other.

The generator of an exchange is seeded with its vhost and name: a broker that is started again chooses as before, so
that what a test or a simulation saw can be seen again. It spreads load; it keeps no secrets.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, ClassVar, Final

from amqpd.broker.exchange import Binding, Exchange
from amqpd.broker.queue import Destination, Queue
from amqpd.spec.errors import PreconditionFailed
from amqpd.wire.content import ContentHeader
from amqpd.wire.table import Table

if TYPE_CHECKING:
    from amqpd.broker.router import Route

RANDOM: Final = "x-random"
LOCAL_RANDOM: Final = "x-local-random"


class RandomExchange(Exchange):
    """Keys say nothing. A destination that is bound twice is twice as likely, as in RabbitMQ."""

    KIND: ClassVar[str] = RANDOM

    def __init__(
        self, vhost: str, name: str, durable: bool, auto_delete: bool, internal: bool, arguments: Table
    ) -> None:
        super().__init__(vhost, name, self.KIND, durable, auto_delete, internal, arguments)
        self.key_only = False  # or a channel would remember the first choice
        self._random = Random(f"{vhost}\0{name}")
        self._destinations: list[Destination] = []

    def binding_added(self, binding: Binding) -> None:
        self._destinations.append(binding.destination)

    def binding_removed(self, binding: Binding) -> None:
        self._destinations.remove(binding.destination)

    def route(self, routing_key: str, header: ContentHeader, found: list[Destination]) -> None:
        destinations = self._destinations
        if destinations:
            found.append(destinations[int(self._random.random() * len(destinations))])

    def route_all(self, route: Route, keys: list[str], header: ContentHeader, found: list[Destination]) -> None:
        """One for the message, whatever CC and BCC say."""
        self.route("", header, found)


class LocalRandomExchange(RandomExchange):
    """For requests: classic queues only, bound with an empty key. One broker is one node: every queue is local."""

    KIND: ClassVar[str] = LOCAL_RANDOM

    def validate_binding(self, routing_key: str, arguments: Table) -> None:
        if routing_key:
            raise PreconditionFailed(f"Non empty binding '{routing_key}' key not permitted")

    def add(self, binding: Binding) -> bool:
        """Raises PreconditionFailed (406) with RabbitMQ 4's words when the destination is no classic queue."""
        destination = binding.destination
        if not isinstance(destination, Queue):
            raise PreconditionFailed("Destination not found")
        if destination.kind != "classic":
            raise PreconditionFailed(f"Queue type rabbit_{destination.kind}_queue not valid for this exchange type")
        return super().add(binding)

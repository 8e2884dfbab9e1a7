"""What can be plugged into a broker: one typed method per seam. An object handed to the broker, never a global."""

from __future__ import annotations

from collections.abc import Callable

from amqpd.broker.exchange import Exchange
from amqpd.broker.letters import LetterHandler
from amqpd.broker.queue import Queue
from amqpd.broker.router import RouteExtension
from amqpd.broker.shard import Shard
from amqpd.wire.table import Table

# (vhost, name, durable, auto_delete, internal, arguments)
ExchangeFactory = Callable[[str, str, bool, bool, bool, Table], Exchange]
# (shard, vhost, name, durable, auto_delete, owner, arguments)
QueueFactory = Callable[[Shard, str, str, bool, bool, object, Table], Queue]


class Registry:
    def __init__(self) -> None:
        self.exchange_types: dict[str, ExchangeFactory] = {}
        self.queue_types: dict[str, QueueFactory] = {}
        self.route_extensions: list[RouteExtension] = []
        self.queue_features: list[Callable[[Queue], None]] = []
        self.letter_handler: LetterHandler | None = None

    def exchange_type(self, name: str, factory: ExchangeFactory) -> None:
        """Exchanges declared with type ``name`` are made by ``factory``."""
        self.exchange_types[name] = factory

    def queue_type(self, name: str, factory: QueueFactory) -> None:
        """Queues declared with x-queue-type ``name`` are made by ``factory``."""
        self.queue_types[name] = factory

    def queue_feature(self, attach: Callable[[Queue], None]) -> None:
        """Called with each new queue, and again when its settings change: gives it a feature where they ask for one."""
        self.queue_features.append(attach)

    def dead_letters(self, handler: LetterHandler) -> None:
        """Who publishes what a queue with a dead-letter exchange dropped. One for all; the last one registered."""
        self.letter_handler = handler

    def route_extension(self, extension: RouteExtension) -> None:
        """Asked in the order of registration."""
        self.route_extensions.append(extension)

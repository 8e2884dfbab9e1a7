"""What can be plugged into a broker: one typed method per seam. An object handed to the broker, never a global."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from amqpd.broker.events import EventListener
from amqpd.broker.exchange import Exchange
from amqpd.broker.letters import LetterHandler
from amqpd.broker.queue import Queue
from amqpd.broker.router import RouteExtension
from amqpd.broker.shard import PageSource, Shard
from amqpd.wire.table import Table

if TYPE_CHECKING:
    from amqpd.broker.broker import Broker

# (vhost, name, durable, auto_delete, internal, arguments)
ExchangeFactory = Callable[[str, str, bool, bool, bool, Table], Exchange]
# (shard, vhost, name, durable, auto_delete, owner, arguments)
QueueFactory = Callable[[Shard, str, str, bool, bool, object, Table], Queue]
# (broker, arguments as JSON has them) -> what JSON can carry, or an ``Inquiry`` (amqpd/broker/inquiry.py)
CommandFunction = Callable[["Broker", Mapping[str, Any]], object]


class Command(NamedTuple):
    """``changes``: there is something to commit after it."""

    run: CommandFunction
    changes: bool


class SystemExchange(NamedTuple):
    """An exchange the broker makes by itself: durable, internal, in one vhost."""

    vhost: str
    name: str
    kind: str


class Registry:
    """Names are given once: a second type or command of the same name raises ValueError."""

    def __init__(self) -> None:
        self.exchange_types: dict[str, ExchangeFactory] = {}
        self.queue_types: dict[str, QueueFactory] = {}
        self.internal_types: set[str] = set()
        self.commands: dict[str, Command] = {}
        self.starting: list[Callable[[Broker, PageSource], None]] = []
        self.route_extensions: list[RouteExtension] = []
        self.queue_features: list[Callable[[Queue], None]] = []
        self.letter_handler: LetterHandler | None = None
        self.event_listeners: list[EventListener] = []
        self.system_exchanges: list[SystemExchange] = []

    def exchange_type(self, name: str, factory: ExchangeFactory) -> None:
        """Exchanges declared with type ``name`` are made by ``factory``.

        It may raise PreconditionFailed (406, closes the channel) on arguments it cannot work with.
        """
        if name in self.exchange_types:
            raise ValueError(f"exchange type '{name}' is registered already")
        self.exchange_types[name] = factory

    def queue_type(self, name: str, factory: QueueFactory, internal: bool = False) -> None:
        """Queues declared with x-queue-type ``name`` are made by ``factory``.

        ``internal``: no client can declare one; exchanges get theirs from ``VHost.internal_queue``.
        """
        if name in self.queue_types:
            raise ValueError(f"queue type '{name}' is registered already")
        self.queue_types[name] = factory
        if internal:
            self.internal_types.add(name)

    def command(self, name: str, function: CommandFunction, changes: bool = False) -> None:
        """A command of the control socket and of the command line; ValueError refuses it, with one line."""
        if name in self.commands:
            raise ValueError(f"command '{name}' is registered already")
        self.commands[name] = Command(function, changes)

    def started(self, function: Callable[[Broker, PageSource], None]) -> None:
        """Called once with the broker and a reader of the store: everything was restored, no client is there yet."""
        self.starting.append(function)

    def queue_feature(self, attach: Callable[[Queue], None]) -> None:
        """Called with each new queue, and again when its settings change: gives it a feature where they ask for one."""
        self.queue_features.append(attach)

    def dead_letters(self, handler: LetterHandler) -> None:
        """Who publishes what a queue with a dead-letter exchange dropped. One for all; the last one registered."""
        self.letter_handler = handler

    def route_extension(self, extension: RouteExtension) -> None:
        """Asked in the order of registration."""
        self.route_extensions.append(extension)

    def event_listener(self, listener: EventListener) -> None:
        """Told what happens in the broker (queues, bindings, logins ...), while it wants to know."""
        self.event_listeners.append(listener)

    def system_exchange(self, vhost: str, name: str, kind: str) -> None:
        """An exchange that is there whenever ``vhost`` is; only the broker publishes to it.

        ``kind`` is a registered type. It is stored like one that a client declared, with its bindings, so that a start
        without the plugin finds an exchange nobody publishes to.
        """
        self.system_exchanges.append(SystemExchange(vhost, name, kind))

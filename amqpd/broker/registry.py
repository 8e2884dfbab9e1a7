"""What can be plugged into a broker: one typed method per seam. An object handed to the broker, never a global."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

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

BUILTIN: Final = "built-in"  # who registers what every broker has


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
    """Names are given once: a second type or command of the same name raises ValueError.

    ``owners``: who registered what, by kind and name.
    """

    def __init__(self) -> None:
        self.owners: dict[tuple[str, str], str] = {}
        self._registering = BUILTIN
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

    @contextmanager
    def by(self, plugin: str) -> Iterator[None]:
        """What is registered inside is ``plugin``'s."""
        before, self._registering = self._registering, plugin
        try:
            yield
        finally:
            self._registering = before

    def owned(self, plugin: str) -> list[str]:
        """What ``plugin`` registered, in words."""
        return [self._words(kind, name) for (kind, name), owner in self.owners.items() if owner == plugin]

    def _words(self, kind: str, name: str) -> str:
        internal = kind == "queue type" and name in self.internal_types
        return f"internal {kind} {name}" if internal else f"{kind} {name}"

    def _note(self, kind: str, thing: object) -> None:
        """Something that has no name of its own: the module it comes from stands for it."""
        module = getattr(thing, "__module__", "") or type(thing).__module__
        name = module.rpartition(".")[2]
        if self.owners.setdefault((kind, name), self._registering) != self._registering:
            self.owners[kind, module] = self._registering  # another plugin has a module of that name, too

    def _own(self, kind: str, name: str) -> None:
        owner = self.owners.get((kind, name))
        if owner is not None:
            by = "amqpd itself" if owner == BUILTIN else f"plugin '{owner}'"
            raise ValueError(f"{kind} '{name}' is registered already, by {by}")
        self.owners[kind, name] = self._registering

    def exchange_type(self, name: str, factory: ExchangeFactory) -> None:
        """Exchanges declared with type ``name`` are made by ``factory``.

        It may raise PreconditionFailed (406, closes the channel) on arguments it cannot work with.
        """
        self._own("exchange type", name)
        self.exchange_types[name] = factory

    def queue_type(self, name: str, factory: QueueFactory, internal: bool = False) -> None:
        """Queues declared with x-queue-type ``name`` are made by ``factory``.

        ``internal``: no client can declare one; exchanges get theirs from ``VHost.internal_queue``.
        """
        self._own("queue type", name)
        self.queue_types[name] = factory
        if internal:
            self.internal_types.add(name)

    def command(self, name: str, function: CommandFunction, changes: bool = False) -> None:
        """A command of the control socket and of the command line; ValueError refuses it, with one line."""
        self._own("command", name)
        self.commands[name] = Command(function, changes)

    def started(self, function: Callable[[Broker, PageSource], None]) -> None:
        """Called once with the broker and a reader of the store: everything was restored, no client is there yet."""
        self.starting.append(function)

    def queue_feature(self, attach: Callable[[Queue], None]) -> None:
        """Called with each new queue, and again when its settings change: gives it a feature where they ask for one."""
        self._note("queue feature", attach)
        self.queue_features.append(attach)

    def dead_letters(self, handler: LetterHandler) -> None:
        """Who publishes what a queue with a dead-letter exchange dropped. One for all; the last one registered."""
        self._note("dead letters", handler)
        self.letter_handler = handler

    def route_extension(self, extension: RouteExtension) -> None:
        """Asked in the order of registration."""
        self._note("route extension", extension)
        self.route_extensions.append(extension)

    def event_listener(self, listener: EventListener) -> None:
        """Told what happens in the broker (queues, bindings, logins ...), while it wants to know."""
        self._note("event listener", listener)
        self.event_listeners.append(listener)

    def system_exchange(self, vhost: str, name: str, kind: str) -> None:
        """An exchange that is there whenever ``vhost`` is; only the broker publishes to it.

        ``kind`` is a registered type. It is stored like one that a client declared, with its bindings, so that a start
        without the plugin finds an exchange nobody publishes to.
        """
        self._own("exchange", name)
        self.system_exchanges.append(SystemExchange(vhost, name, kind))

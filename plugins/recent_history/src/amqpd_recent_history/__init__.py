"""The exchange type ``x-recent-history``: a fanout that gives its last messages to whoever is bound later.

See amqpd_recent_history/history.py for what is kept, and README.md.
"""

from __future__ import annotations

from typing import Final

from amqpd.broker.broker import Broker
from amqpd.broker.exchange import Binding, Exchange
from amqpd.broker.message import Message
from amqpd.broker.queue import Destination, Queue
from amqpd.broker.registry import Registry
from amqpd.broker.router import Route
from amqpd.broker.shard import PageSource
from amqpd.broker.vhost import VHost
from amqpd.spec.arguments import INTEGER_TYPES, TYPE_NAMES, described
from amqpd.spec.errors import PreconditionFailed
from amqpd.wire.content import ContentHeader
from amqpd.wire.table import Field, Table
from amqpd_recent_history.history import History

KIND: Final = "x-recent-history"
LENGTH: Final = "x-recent-history-length"
LENGTH_DEFAULT: Final = 20


class Histories:
    """What the exchanges of a broker share."""

    def __init__(self) -> None:
        self.exchanges: list[RecentHistoryExchange] = []
        self._broker: Broker | None = None

    @property
    def broker(self) -> Broker:
        assert self._broker is not None
        return self._broker

    def started(self, broker: Broker, source: PageSource) -> None:
        self._broker = broker
        for exchange in self.exchanges:
            if exchange.durable:
                exchange.history.read_back(source)

    def exchange(
        self, vhost: str, name: str, durable: bool, auto_delete: bool, internal: bool, arguments: Table
    ) -> Exchange:
        return RecentHistoryExchange(self, vhost, name, durable, auto_delete, internal, arguments)


class RecentHistoryExchange(Exchange):
    history: History

    def __init__(
        self,
        histories: Histories,
        vhost: str,
        name: str,
        durable: bool,
        auto_delete: bool,
        internal: bool,
        arguments: Table,
    ) -> None:
        """Raises PreconditionFailed (406, closes the channel) on a length that is none."""
        super().__init__(vhost, name, KIND, durable, auto_delete, internal, arguments)
        self.histories = histories
        self.length = _length(arguments)
        self.destinations: list[Destination] = []

    def declared(self, vhost: VHost) -> None:
        history = vhost.internal_queue(KIND, self.name, self.durable)
        assert isinstance(history, History)
        self.history = history
        history.length = self.length
        self.histories.exchanges.append(self)

    def deleted(self, vhost: VHost) -> None:
        self.histories.exchanges.remove(self)
        vhost.drop_internal_queue(self.history)

    def binding_added(self, binding: Binding) -> None:
        self._sort()

    def binding_removed(self, binding: Binding) -> None:
        self._sort()

    def _sort(self) -> None:
        self.destinations = list(dict.fromkeys(binding.destination for binding in self.bindings.values()))

    def route(self, routing_key: str, header: ContentHeader, found: list[Destination]) -> None:
        found.append(self.history)
        found.extend(self.destinations)

    def bound(self, vhost: VHost, binding: Binding) -> None:
        destination = binding.destination
        for message in self.history.copies():
            if isinstance(destination, Queue):
                destination.publish(message)
            elif isinstance(destination, Exchange):
                self._route_on(vhost, destination, message)

    def _route_on(self, vhost: VHost, exchange: Exchange, message: Message) -> None:
        router = self.histories.broker.router
        keys = [message.address.routing_key, *router.extra_keys(message.header)]
        for queue in router.route(vhost, Route(message.address, exchange, False), keys, message.header):
            queue.publish(message)


def _length(arguments: Table) -> int:
    field = arguments.get(LENGTH)
    if field is None:
        return LENGTH_DEFAULT
    if field.kind in INTEGER_TYPES and isinstance(field.value, int) and field.value > 0:
        return field.value
    raise PreconditionFailed(f"Invalid argument {_as_erlang(field)}, '{LENGTH}' must be a positive integer")


def _as_erlang(field: Field) -> str:
    """A value as RabbitMQ shows it in this text."""
    value = field.value
    if isinstance(value, dict):
        items = [f'{{<<"{name}">>,{TYPE_NAMES[item.kind]},{_as_erlang(item)}}}' for name, item in value.items()]
        return f"[{','.join(items)}]"
    if isinstance(value, list):
        return f"[{','.join([f'{{{TYPE_NAMES[item.kind]},{_as_erlang(item)}}}' for item in value])}]"
    if isinstance(value, tuple):
        return f"{{{value[0]},{value[1]}}}"
    if isinstance(value, bytes):
        return f'<<"{described(value)}">>' if value else "<<>>"
    return "undefined" if value is None else described(value)


def register(registry: Registry) -> None:
    """The plugin's entry point."""
    histories = Histories()
    registry.exchange_type(KIND, histories.exchange)
    registry.queue_type(KIND, History, internal=True)
    registry.started(histories.started)

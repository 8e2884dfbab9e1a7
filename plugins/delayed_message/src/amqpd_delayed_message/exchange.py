"""The exchange type ``x-delayed-message``.

1. The exchange routes like the type its ``x-delayed-type`` names, the *inner* exchange, which has the same bindings.
2. A message that is to wait goes to the exchange's schedule instead, in the publisher's transaction; the confirm comes
   after the commit. What becomes of it then is the keeper's affair (keeper.py).
3. A mandatory message that would reach no queue now is returned now.
"""

from __future__ import annotations

import secrets
from typing import Final

from amqpd.broker.broker import Broker
from amqpd.broker.exchange import Binding, Exchange
from amqpd.broker.message import Message
from amqpd.broker.queue import Destination, Queue
from amqpd.broker.registry import Registry
from amqpd.broker.router import Route
from amqpd.broker.shard import PageSource, Shard
from amqpd.broker.vhost import VHost
from amqpd.queues.schedule import Schedule
from amqpd.spec.arguments import described
from amqpd.spec.errors import PreconditionFailed
from amqpd.wire.content import ContentHeader, with_headers
from amqpd.wire.table import Table, longstr
from amqpd_delayed_message import due, recurrence
from amqpd_delayed_message.keeper import PUBLISHER, DelayedMessages, is_request
from amqpd_delayed_message.options import Options, Overdue

KIND: Final = "x-delayed-message"
INNER_TYPE: Final = "x-delayed-type"


class Delays:
    """What all delayed exchanges of a broker share."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.token = secrets.token_hex(8)  # no client can name a publisher of ours
        self._broker: Broker | None = None

    @property
    def broker(self) -> Broker:
        assert self._broker is not None
        return self._broker

    def started(self, broker: Broker, source: PageSource) -> None:
        self._broker = broker

    def exchange(
        self, vhost: str, name: str, durable: bool, auto_delete: bool, internal: bool, arguments: Table
    ) -> Exchange:
        return DelayedExchange(self, vhost, name, durable, auto_delete, internal, arguments)

    def schedule(
        self, shard: Shard, vhost: str, name: str, durable: bool, auto_delete: bool, owner: object, arguments: Table
    ) -> Queue:
        return Schedule(shard, vhost, name, durable, auto_delete, owner, arguments)

    def exchanges(self) -> list[DelayedExchange]:
        """All there are, by vhost and name."""
        return [
            exchange
            for _, vhost in sorted(self.broker.vhosts.items())
            for _, exchange in sorted(vhost.exchanges.items())
            if isinstance(exchange, DelayedExchange)
        ]


class DelayedExchange(Exchange):
    """``schedule``: what waits here. ``counts``: what became of messages that waited, by word."""

    schedule: Schedule

    def __init__(
        self,
        delays: Delays,
        vhost: str,
        name: str,
        durable: bool,
        auto_delete: bool,
        internal: bool,
        arguments: Table,
    ) -> None:
        super().__init__(vhost, name, KIND, durable, auto_delete, internal, arguments)
        self.key_only = False
        self.delays = delays
        self.options = Options(arguments)
        factory = delays.registry.exchange_types[_inner_type(arguments, delays.registry)]
        self.inner = factory(vhost, name, durable, auto_delete, internal, arguments)
        self.keeper = DelayedMessages(self)

    def declared(self, vhost: VHost) -> None:
        schedule = vhost.internal_queue(KIND, self.name, self.durable)
        assert isinstance(schedule, Schedule)
        self.schedule = schedule
        schedule.limit = self.options.max_pending
        schedule.attach(self.keeper, self.options.overdue is Overdue.SPREAD)
        self.inner.declared(vhost)

    def deleted(self, vhost: VHost) -> None:
        vhost.drop_internal_queue(self.schedule)
        self.inner.deleted(vhost)

    # Bindings are the inner exchange's, too

    def validate_binding(self, routing_key: str, arguments: Table) -> None:
        self.inner.validate_binding(routing_key, arguments)

    def add(self, binding: Binding) -> bool:
        return self.inner.add(binding) and super().add(binding)  # the inner one may refuse it

    def binding_added(self, binding: Binding) -> None:
        """The inner exchange has it already."""

    def binding_removed(self, binding: Binding) -> None:
        self.inner.remove(binding.key)

    def bound(self, vhost: VHost, binding: Binding) -> None:
        self.inner.bound(vhost, binding)

    # Routing

    def route_all(self, route: Route, keys: list[str], header: ContentHeader, found: list[Destination]) -> None:
        """Raises PreconditionFailed (406, closes the channel) on a time or a recurrence that cannot be understood."""
        if not self.keeper.waits(header):
            due.check(header, self.keeper.now)
            self.inner.route_all(route, keys, header, found)
            return
        if recurrence.recurs(header):
            recurrence.check(header)
        if not route.mandatory and not _has_bcc(header):
            found.append(self.schedule)
        elif not route.mandatory or is_request(header) or self.takers(route, keys, header):
            found.append(Ticket(self, route, header))

    def takers(self, route: Route, keys: list[str], header: ContentHeader) -> list[Queue]:
        """The queues that a message would reach now, by the alternate exchange too."""
        broker = self.delays.broker
        self.inner.alternate = self.alternate
        now = Route(route.address, self.inner, False)
        return broker.router.route(broker.vhosts[self.vhost], now, keys, header)


class Ticket(Queue):
    """Takes one message to the schedule, with what must be remembered of its publish."""

    def __init__(self, exchange: DelayedExchange, route: Route, header: ContentHeader) -> None:
        schedule = exchange.schedule
        super().__init__(schedule.shard, schedule.vhost, schedule.name, schedule.durable, False, None, {})
        self.exchange = exchange
        self.remembered: Table = {}
        if route.mandatory and route.publisher is not None:
            connection, channel = route.publisher.place()
            self.remembered[PUBLISHER] = longstr(f"{exchange.delays.token} {connection} {channel}")
        # Nobody may see it, so it is not in the message that is handed to ``publish``.
        if (bcc := header.table().get("BCC")) is not None:
            self.remembered["BCC"] = bcc

    def publish(self, message: Message) -> bool:
        exchange = self.exchange
        if exchange.schedule.deleted:
            return True
        header = with_headers(message.header, message.header.table() | self.remembered)
        stored = Message(message.address, header, message.body)
        taken = exchange.schedule.put(stored, exchange.keeper.deadline(stored))
        message.holders += stored.holders  # the confirm of the one is the confirm of the other
        return taken


def _has_bcc(header: ContentHeader) -> bool:
    """It may have: a false alarm only costs a ticket."""
    return header.headers is not None and b"\x03BCC" in header.headers


def _inner_type(arguments: Table, registry: Registry) -> str:
    """Raises PreconditionFailed with the texts of RabbitMQ's plugin."""
    field = arguments.get(INNER_TYPE)
    kind = described(field.value) if field is not None and field.kind == "S" else ""
    if kind == KIND:
        raise PreconditionFailed(f"'{KIND}' can't be used for '{INNER_TYPE}'")
    if kind not in registry.exchange_types:
        raise PreconditionFailed(f"Invalid argument, '{INNER_TYPE}' must be an existing exchange type")
    return kind

"""The exchange type ``x-delayed-message``.

1. The exchange routes like the type its ``x-delayed-type`` names, the *inner* exchange, which has the same bindings.
2. A message that is to wait goes to the exchange's schedule instead, in the publisher's transaction; the confirm comes
   after the commit. When it is due it is routed by the bindings there are then.
3. A mandatory message that would reach no queue now is returned now. One that waits remembers who published it: when it
   reaches no queue at its time either, it is returned if that channel is still open, else dead-lettered.
4. What reaches no queue, and can be neither returned nor dead-lettered, is counted and reported in the log.
5. A message that every queue refuses (reject-publish) waits again for a little while.
6. ``x-delay-cancel`` publishes a request: it lies in the schedule like a message, so that it is not lost either, and
   settles the messages with that message-id together with itself.
"""

from __future__ import annotations

import secrets
from typing import Final

from amqpd.broker.broker import Broker
from amqpd.broker.exchange import Binding, Exchange
from amqpd.broker.message import Entry, Message
from amqpd.broker.queue import Destination, Queue
from amqpd.broker.registry import Registry
from amqpd.broker.router import Route
from amqpd.broker.shard import PageSource, Shard
from amqpd.broker.vhost import VHost
from amqpd.features.death_header import Death, with_death
from amqpd.queues.schedule import DONE, KEPT, NAMED_MAX, Keeper, Schedule
from amqpd.spec.arguments import described
from amqpd.spec.errors import PreconditionFailed
from amqpd.wire.content import ContentHeader, with_headers
from amqpd.wire.table import Table, longstr
from amqpd_delayed_message import due, recurrence
from amqpd_delayed_message.options import Options, Overdue

KIND: Final = "x-delayed-message"
INNER_TYPE: Final = "x-delayed-type"
CANCEL: Final = "x-delay-cancel"
# Put into the stored header of a mandatory message: the broker's token, the connection and the channel.
PUBLISHER: Final = "x-delayed-publisher"

# How long a message waits again that every queue refused, and how often the same trouble is reported.
REFUSED_MS: Final = 5_000
REPORT_MS: Final = 10_000

# Reasons in x-death.
UNROUTABLE: Final = "delayed_unroutable"
SKIPPED: Final = "delayed_overdue"


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
        if not route.mandatory and "BCC" not in _names(header):
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


class DelayedMessages(Keeper):
    """Publishes what is due. ``counts``: what became of it, by word."""

    def __init__(self, exchange: DelayedExchange) -> None:
        self.exchange = exchange
        self.counts = {
            "published": 0,
            "returned": 0,
            "dead_lettered": 0,
            "unroutable": 0,
            "skipped": 0,
            "refused": 0,
            "cancelled": 0,
        }
        self.spread = 0  # overdue messages that were given another time
        self.reported_at = 0
        self.last_header: ContentHeader | None = None
        self.last_waits = False

    @property
    def now(self) -> int:
        return int(self.exchange.schedule.shard.now)

    # Into the schedule

    def waits(self, header: ContentHeader) -> bool:
        """Whether a message with this header is for the schedule. Publishers often send the same header again."""
        if header is not self.last_header:
            self.last_waits = header.headers is not None and (
                is_request(header) or recurrence.recurs(header) or due.due_time(header, self.now) > 0
            )
            # An absolute time may pass; a delay does not.
            self.last_header = header
        return self.last_waits

    def deadline(self, message: Message) -> int:
        header, now = message.header, self.now
        if is_request(header):
            return now
        first = due.due_time(header, now)
        if recurrence.recurs(header):
            return first or recurrence.next_time(header, now, now, 0) or now
        return first or now

    # Out of the schedule

    def due(self, entry: Entry) -> int:
        header = entry.message.header
        if is_request(header):
            self.exchange.schedule.look_up(described(header.table()[CANCEL].value), entry)
            return KEPT
        if entry.deadline <= self.exchange.schedule.restored_at:
            answer = self._overdue(entry)
            if answer is not None:
                return answer
        return self.release(entry)

    def release(self, entry: Entry) -> int:
        """Publish it; DONE, or when it is due again."""
        taken = self._publish(entry)
        if recurrence.recurs(entry.message.header):
            return self._next(entry)
        if taken:
            return DONE
        self.counts["refused"] += 1
        return self.now + REFUSED_MS

    def _next(self, entry: Entry) -> int:
        """When a recurring message is due again; DONE when it was the last time."""
        entry.deliveries += 1
        following = recurrence.next_time(entry.message.header, int(entry.deadline), self.now, int(entry.deliveries))
        if following:
            self.exchange.schedule.shard.journal.count(entry)
        return following or DONE

    def _publish(self, entry: Entry) -> bool:
        """False when every queue it was routed to refused it."""
        exchange = self.exchange
        message = entry.message
        router = exchange.delays.broker.router
        keys = [message.address.routing_key, *router.extra_keys(message.header)]
        header = _as_published(router.stripped(due.released(message.header)))
        copy = Message(message.address, header, message.body)
        queues = exchange.takers(Route(message.address, exchange, False), keys, header)
        if not queues:
            self._unroutable(entry, copy)
            return True
        taken = False
        for queue in queues:
            taken = queue.publish(copy) or taken
        if taken:
            self.counts["published"] += 1
        return taken

    def _overdue(self, entry: Entry) -> int | None:
        """What the exchange says of messages whose time passed while the broker was down; None: fire."""
        options = self.exchange.options
        schedule = self.exchange.schedule
        if options.overdue is Overdue.SKIP:
            if recurrence.recurs(entry.message.header):
                return self._next(entry)
            self._dead_letter(entry, SKIPPED, "skipped")
            return DONE
        if options.overdue is Overdue.SPREAD:
            self.spread += 1
            at = int(schedule.restored_at) + options.spread_ms * self.spread // max(schedule.overdue, 1)
            if at > self.now:
                return at
        return None

    def _unroutable(self, entry: Entry, copy: Message) -> None:
        if self._give_back(entry, copy):
            self.counts["returned"] += 1
        else:
            self._dead_letter(entry, UNROUTABLE, "unroutable")

    def _give_back(self, entry: Entry, copy: Message) -> bool:
        """basic.return to the channel that published it as mandatory, where that is still open."""
        field = _names(entry.message.header).get(PUBLISHER)
        if field is None:
            return False
        token, _, place = described(field.value).partition(" ")
        if token != self.exchange.delays.token:
            return False
        connection, _, channel = place.partition(" ")
        port = self.exchange.delays.broker.connections.get(int(connection))
        publisher = port.channel(int(channel)) if port is not None else None
        return publisher is not None and publisher.give_back(copy)

    def _dead_letter(self, entry: Entry, reason: str, word: str) -> None:
        """To the exchange's own dead-letter exchange; without one, or when nobody takes it there, it is ``word``."""
        exchange, options = self.exchange, self.exchange.options
        broker = exchange.delays.broker
        vhost = broker.vhosts[exchange.vhost]
        message = entry.message
        target = vhost.exchanges.get(options.dead_letter_exchange or "") if options.dead_letters else None
        if target is not None:
            key = options.dead_letter_routing_key
            death = Death(
                exchange.name, reason, message.address.exchange, [message.address.routing_key], self.now // 1000
            )
            header = _as_published(broker.router.stripped(due.released(message.header)))
            header = with_death(header, death, key is not None)
            if broker.publish(vhost, target, message.address.routing_key if key is None else key, header, message.body):
                self.counts["dead_lettered"] += 1
                return
        self.counts[word] += 1
        if self.now - self.reported_at >= REPORT_MS:
            self.reported_at = self.now
            unroutable, skipped = self.counts["unroutable"], self.counts["skipped"]
            broker.reports.append(
                f"exchange '{exchange.name}' in vhost '{exchange.vhost}' has dropped delayed messages since the start: "
                f"{unroutable} that no queue was bound for, {skipped} overdue after a restart"
            )

    # Requests

    def found(self, asking: Entry, entries: list[Entry]) -> None:
        """Rule 6. A mandatory request comes back when there is nothing to cancel."""
        schedule = self.exchange.schedule
        for entry in entries:
            self.cancel(entry)
        if len(entries) == NAMED_MAX:
            schedule.look_up(described(asking.message.header.table()[CANCEL].value), asking)
            return
        if not entries:
            message = asking.message
            self._give_back(asking, Message(message.address, _as_published(message.header), message.body))
        schedule.settle(asking)

    def cancel(self, entry: Entry) -> None:
        """It is not published any more."""
        self.counts["cancelled"] += 1
        self.exchange.schedule.settle(entry)


def is_request(header: ContentHeader) -> bool:
    """Whether it is a request to cancel."""
    return header.headers is not None and b"\x0ex-delay-cancel" in header.headers and CANCEL in header.table()


def _names(header: ContentHeader) -> Table:
    return header.table() if header.headers is not None else {}


def _as_published(header: ContentHeader) -> ContentHeader:
    """Without what is remembered of the publish."""
    if header.headers is None or PUBLISHER.encode() not in header.headers:
        return header
    table = header.table()
    table.pop(PUBLISHER, None)
    return with_headers(header, table)


def _inner_type(arguments: Table, registry: Registry) -> str:
    """Raises PreconditionFailed with the texts of RabbitMQ's plugin."""
    field = arguments.get(INNER_TYPE)
    kind = described(field.value) if field is not None and field.kind == "S" else ""
    if kind == KIND:
        raise PreconditionFailed(f"'{KIND}' can't be used for '{INNER_TYPE}'")
    if kind not in registry.exchange_types:
        raise PreconditionFailed(f"Invalid argument, '{INNER_TYPE}' must be an existing exchange type")
    return kind

"""What becomes of delayed messages: when each is due, and where it goes then.

1. What is due is routed by the bindings there are then, and settled in the same open batch.
2. A mandatory message remembers who published it: when it reaches no queue at its time, it is returned if that channel
   is still open, else dead-lettered.
3. What reaches no queue, and can be neither returned nor dead-lettered, is counted and reported in the log.
4. A message that every queue refuses (reject-publish) waits again for a little while; a recurring one until its next
   time.
5. ``x-delay-cancel`` publishes a request: it lies in the schedule like a message, so that it is not lost either, and
   settles the messages with that message-id together with itself. One that is due while they are looked for is settled
   then: once a request was taken, nothing it is for comes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from amqpd.broker.message import Entry, Message
from amqpd.broker.router import Route
from amqpd.features.death_header import Death, with_death
from amqpd.queues.schedule import DONE, KEPT, NAMED_MAX, Keeper
from amqpd.spec.arguments import described
from amqpd.wire.content import ContentHeader, message_id, with_headers
from amqpd.wire.table import Table
from amqpd_delayed_message import due, recurrence
from amqpd_delayed_message.options import Overdue

if TYPE_CHECKING:
    from amqpd_delayed_message.exchange import DelayedExchange

CANCEL: Final = "x-delay-cancel"
# Put into the stored header of a mandatory message: the broker's token, the connection and the channel.
PUBLISHER: Final = "x-delayed-publisher"

# How long a message waits again that every queue refused, and how often the same trouble is reported.
REFUSED_MS: Final = 5_000
REPORT_MS: Final = 10_000

# Reasons in x-death.
UNROUTABLE: Final = "delayed_unroutable"
SKIPPED: Final = "delayed_overdue"


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
        self.timed_header: ContentHeader | None = None
        self.timed_at = self.timed_due = 0
        # Requests whose messages are looked for, by position: the name, and which have found any.
        self.names: dict[int, str] = {}
        self.hit: set[int] = set()

    @property
    def now(self) -> int:
        return int(self.exchange.schedule.shard.now)

    # Into the schedule

    def waits(self, header: ContentHeader) -> bool:
        """Whether a message with this header is for the schedule. Publishers often send the same header again."""
        if header is not self.last_header:
            self.last_waits = header.headers is not None and (
                is_request(header) or recurrence.recurs(header) or self._due_time(header, self.now) > 0
            )
            # An absolute time may pass; a delay does not.
            self.last_header = header
        return self.last_waits

    def _due_time(self, header: ContentHeader, now: int) -> int:
        """The route asks for it, and then the schedule."""
        if header is not self.timed_header or now != self.timed_at:
            self.timed_due = due.due_time(header, now)
            self.timed_header, self.timed_at = header, now
        return self.timed_due

    def deadline(self, message: Message) -> int:
        header, now = message.header, self.now
        if is_request(header):
            return now
        first = self._due_time(header, now)
        if recurrence.recurs(header):
            return first or recurrence.next_time(header, now, now, 0) or now
        return first or now

    def is_limited(self, message: Message) -> bool:
        return not is_request(message.header)

    # Out of the schedule

    def due(self, entry: Entry) -> int:
        header = entry.message.header
        if is_request(header):
            self._look_up(entry)
            return KEPT
        if self.names and self._is_cancelled(entry):
            return DONE
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
        """Rule 5. A mandatory request comes back when there is nothing to cancel."""
        position = int(asking.position)
        for entry in entries:
            self.cancel(entry)
            self.hit.add(position)
        if len(entries) == NAMED_MAX:
            self._look_up(asking)
            return
        if position not in self.hit:
            message = asking.message
            self._give_back(asking, Message(message.address, _as_published(message.header), message.body))
        self._forget(position)
        self.exchange.schedule.settle(asking)

    def _look_up(self, asking: Entry) -> None:
        name = described(asking.message.header.table()[CANCEL].value)
        self.names[int(asking.position)] = name
        self.exchange.schedule.look_up(name, asking)

    def _is_cancelled(self, entry: Entry) -> bool:
        """Whether a request for it is under way; then it counts as cancelled."""
        name = message_id(entry.message.header)
        for position, wanted in list(self.names.items()):
            if position not in self.exchange.schedule.kept:
                self._forget(position)  # it was dropped by an operator
            elif wanted == name and entry.position < position:
                self.hit.add(position)
                self.counts["cancelled"] += 1
                return True
        return False

    def _forget(self, position: int) -> None:
        self.names.pop(position, None)
        self.hit.discard(position)

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

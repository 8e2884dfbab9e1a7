"""The delivery acknowledgement timeout: what a client keeps too long goes back to its queue.

1. The timeout of a delivery is its consumer's x-consumer-timeout, else its queue's setting, else the broker's; 0 is
   none. A message that was got has no consumer.
2. No delivery carries a time. A channel where a timeout is in force notes from time to time how far its delivery tags
   have come; a tag at or below a note that is as old as the timeout is overdue. So a message is taken back not before
   its timeout, and at most a tenth of it (100 milliseconds at least) after.
3. Overdue messages go back to their queue. Their consumer is cancelled, and hears so by basic.cancel, as RabbitMQ 4.3
   does with quorum queues; an acknowledgement that comes too late is ignored.
4. A client that does not hear basic.cancel, a message that was got, and a broker that is set to ``close``: the channel
   is closed with 406, as in RabbitMQ 3.10.8 (seen; there also for the messages of a consumer that was cancelled).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from amqpd.broker.message import Entry
from amqpd.broker.queue import NO_NUMBER, TIMED_OUT, Consumer, Queue
from amqpd.broker.timers import Timer
from amqpd.spec.errors import PreconditionFailed

if TYPE_CHECKING:
    from amqpd.session.channel import Channel

ARGUMENT: Final = "x-consumer-timeout"
SETTING: Final = "consumer-timeout"

# Between two notes: a tenth of the timeout, but no more often and no less often than this; 100 notes at most.
PERIOD_MIN_MS: Final = 100
PERIOD_MAX_MS: Final = 60_000
NOTES_MAX: Final = 100
# Tags of overdue messages whose acknowledgement may still come; one that is older is unknown (406).
LATE_MAX: Final = 10_000


class AckTimeouts:
    """Of one channel. ``watches``: by timeout in milliseconds. ``late``: tags of messages that were taken back."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.watches: dict[int, Watch] = {}
        self.late: dict[int, bool] = {}

    def watch(self, timeout_ms: int) -> None:
        """A delivery may come that has this timeout."""
        if timeout_ms not in self.watches:
            self.watches[timeout_ms] = Watch(self, timeout_ms)

    def forgives(self, tag: int) -> bool:
        """Whether ``tag`` was taken back and may be settled, once."""
        return self.late.pop(tag, False)

    def stop(self) -> None:
        """The channel ends."""
        for watch in self.watches.values():
            self.channel.broker.timers.cancel(watch)
        self.watches = {}

    def take_back(self, entries: list[Entry], timeout_ms: int) -> None:
        """They are overdue."""
        channel = self.channel
        consumers: list[Consumer] = []
        closes = channel.connection.environment.consumer_timeout_closes
        for entry in entries:
            consumer = entry.consumer
            if consumer is None:
                closes = True
            elif not consumer.cancelled and consumer not in consumers:
                consumers.append(consumer)
                closes = closes or not channel.connection.hears_cancel
            self._remember(int(entry.delivery_tag))
            channel.unacked.take(entry.delivery_tag)
        if not closes:
            # First of all, so that they do not get the same messages again.
            for consumer in consumers:
                channel.vhost.lost_consumer(consumer)
        channel.settle_entries(entries, False, TIMED_OUT)
        if closes:
            channel.connection.close_channel(channel, _timed_out(int(channel.number), timeout_ms), 0)
            return
        for consumer in consumers:
            channel.connection.environment.log.timed_out(
                channel.connection,
                int(channel.number),
                consumer.tag,
                f"messages of queue '{consumer.queue.name}' in vhost '{consumer.queue.vhost}' were not acknowledged "
                f"within {timeout_ms} ms and went back to it",
            )
            channel.consumer_cancelled(consumer)

    def _remember(self, tag: int) -> None:
        self.late[tag] = True
        if len(self.late) > LATE_MAX:
            del self.late[next(iter(self.late))]


class Watch(Timer):
    """One timeout on one channel, while a consumer or a message in flight has it.

    ``notes``: (time, delivery tag), the oldest first. ``reached``: all tags up to it are as old as the timeout.
    """

    def __init__(self, owner: AckTimeouts, timeout_ms: int) -> None:
        self.owner = owner
        self.timeout_ms = timeout_ms
        period = min(max(timeout_ms // 10, PERIOD_MIN_MS), PERIOD_MAX_MS)
        self.period_ms = max(period, timeout_ms // NOTES_MAX)
        self.notes: list[tuple[int, int]] = []
        self.reached = 0
        broker = owner.channel.broker
        self._note(broker.now)
        broker.timers.set(self, broker.now + self.period_ms)

    def fire(self, now: int) -> None:
        owner = self.owner
        channel = owner.channel
        if channel.closed:
            return
        self._note(now)
        while self.notes and self.notes[0][0] <= now - self.timeout_ms:
            self.reached = self.notes.pop(0)[1]
        overdue = self._overdue()
        if overdue:
            owner.take_back(overdue, self.timeout_ms)
        if channel.closed:
            return
        if self._wanted():
            channel.broker.timers.set(self, now + self.period_ms)
        else:
            del owner.watches[self.timeout_ms]

    def _note(self, now: int) -> None:
        # Where nothing was delivered since, the older note says more.
        tag = int(self.owner.channel.delivery_tag)
        if not self.notes or self.notes[-1][1] != tag:
            self.notes.append((now, tag))

    def _overdue(self) -> list[Entry]:
        found: list[Entry] = []
        for entry in self.owner.channel.unacked.up_to(self.reached):
            timeout_ms = timeout_of(self.owner.channel, entry.queue, entry.consumer)
            if timeout_ms == self.timeout_ms:
                found.append(entry)
            elif timeout_ms:
                self.owner.watch(timeout_ms)  # the queue's setting changed meanwhile
        return found

    def _wanted(self) -> bool:
        channel = self.owner.channel
        for consumer in channel.consumers.values():
            if not consumer.no_ack and timeout_of(channel, consumer.queue, consumer) == self.timeout_ms:
                return True
        return len(channel.unacked.by_tag) > 0


def timeout_of(channel: Channel, queue: Queue, consumer: Consumer | None) -> int:
    """In milliseconds; 0 is none (rule 1)."""
    if consumer is not None:
        field = consumer.arguments.get(ARGUMENT)
        if field is not None and isinstance(field.value, int):
            return field.value
    setting = queue.number(SETTING)
    return setting if setting != NO_NUMBER else channel.connection.environment.consumer_timeout_ms


def expect_acknowledgement(channel: Channel, queue: Queue, consumer: Consumer | None) -> None:
    """A message of ``queue`` is delivered, or will be, to ``consumer``, or was got (None)."""
    timeout_ms = timeout_of(channel, queue, consumer)
    if timeout_ms > 0:
        if channel.ack_timeouts is None:
            channel.ack_timeouts = AckTimeouts(channel)
        channel.ack_timeouts.watch(timeout_ms)


def _timed_out(number: int, timeout_ms: int) -> PreconditionFailed:
    return PreconditionFailed(
        f"delivery acknowledgement on channel {number} timed out. Timeout value used: {timeout_ms} ms. "
        "This timeout value can be configured, see consumers doc guide to learn more",
        0,
    )

"""The stream: a log that every consumer reads for itself, from where it likes, as often as it likes. Hot.

1. Its messages are entries like any queue's, in order, stored whether persistent or not; reading takes none away. They
   go when the stream is deleted, and by retention (amqpd/queues/stream/retention.py).
2. Offsets are dense and begin at 0. What a batch brings is a *chunk*: the store keeps the offset of its first entry,
   the others are counted from there. Positions (message ids) have gaps.
3. A message is delivered once it is committed, not before: its offset must not be given to another one after a crash.
4. Each consumer has a ``Cursor``. Those that keep up are served from memory (``Tail``), the others read pages.
5. A settlement, whatever it says, only gives back credit. Nothing is redelivered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, final

from mypy_extensions import i64

from amqpd.broker.batch import Chunk, QueueSummary, StoredEntry
from amqpd.broker.message import Entry, Message
from amqpd.broker.queue import Consumer, Lane, Queue
from amqpd.broker.shard import PageRequest, PageSource, Shard
from amqpd.queues.stream.cursor import Cursor, CursorPage
from amqpd.queues.stream.filter import filter_of
from amqpd.queues.stream.offset import BACK, FIRST, LAST, NEXT, OFFSET, SINCE, start_of
from amqpd.queues.stream.retention import OldestChunks, Retention
from amqpd.queues.stream.tail import Tail
from amqpd.spec.arguments import STREAM, STREAM_OFFSET, TYPE_NAMES, described
from amqpd.spec.declaring import invalid_argument, of_another_type
from amqpd.spec.errors import NotImplementedByBroker, PreconditionFailed, binary
from amqpd.wire.table import Table

# Messages looked at for one consumer before the others have their turn, and by a pump before other queues have theirs.
SERVE_MAX: Final = 1_000
PUMP_MAX: Final = 10_000


@final
class StreamQueue(Queue):
    """``next_offset``: of the next message published; ``committed``: the first one that may not be delivered yet.

    ``total_bytes``: octets of all bodies it ever held. ``last_chunk``: the newest one; None while it is empty.
    """

    def __init__(
        self, shard: Shard, vhost: str, name: str, durable: bool, auto_delete: bool, owner: object, arguments: Table
    ) -> None:
        super().__init__(shard, vhost, name, durable, auto_delete, owner, arguments)
        self.kind = STREAM
        self.lane: Lane = Lane(self, 0)
        self.next_offset: i64 = 0
        self.committed: i64 = 0
        self.total_bytes: int = 0
        self.last_chunk: Chunk | None = None
        self.last_position: i64 = 0
        self.last_time: i64 = 0  # when it was published
        self.chunk_batch: i64 = 0
        self.retention: Retention = Retention(self)
        self.tail: Tail = Tail(shard)
        self.in_flight: i64 = 0
        self.cursors: dict[Consumer, Cursor] = {}
        self.to_serve: list[Cursor] = []
        self.at_end: dict[Cursor, bool] = {}
        self.resumed: bool = False  # there are some in ``to_serve`` that could not take a message
        self.services: i64 = 0  # cursors that were given something, counted each time

    def identify(self, first: i64) -> None:
        self.id = first
        self.lane.id = first

    def reconfigure(self, features: Sequence[Callable[[Queue], None]]) -> None:
        self.retention.configure()
        for consumer in self.cursors:
            consumer.channel.settings_changed(consumer)

    def first_chunk(self) -> Chunk | None:
        """Where it begins now; None while it is empty."""
        known = self.retention.known
        return known[0] if known else None

    # Publishing

    def publish(self, message: Message) -> bool:
        journal = self.shard.journal
        if message.id != 0 and message.id <= self.last_position:
            message = self._copy(message)
        entry = journal.place(message, self.lane)
        if self.chunk_batch != journal.number:
            self._begin_chunk(entry)
        journal.insert(entry)
        self.last_position = entry.position
        self.last_time = self.shard.now
        self.next_offset += 1
        self.total_bytes += int(message.header.body_size)
        if self.cursors:
            self.tail.push(message)
        else:
            self.tail.skip()
        return True

    def _copy(self, message: Message) -> Message:
        """A queue before this one published something here while it took ``message``: the order is that of ids."""
        message.holders += 1  # so that its publisher waits for the batch
        return Message(message.address, message.header, message.body)

    def _begin_chunk(self, entry: Entry) -> None:
        journal = self.shard.journal
        last = self.last_chunk
        now = int(self.shard.now)
        time = now if last is None else max(now, last.time)
        chunk = Chunk(int(self.next_offset), int(entry.position), time, self.total_bytes)
        journal.begin_chunk(self.lane, chunk)
        journal.paging.append(self)
        self.chunk_batch = journal.number
        self.retention.begun(chunk)
        self.last_chunk = chunk

    def chunk_sealed(self, chunk: Chunk) -> Chunk:
        ended = Chunk(chunk.offset, chunk.position, max(chunk.time, int(self.last_time)), chunk.before)
        self.retention.sealed(ended)
        self.last_chunk = ended
        return ended

    def batch_committed(self, number: i64) -> None:
        chunk = self.last_chunk
        if self.chunk_batch <= number or chunk is None:
            self.committed = self.next_offset
        else:
            self.committed = chunk.offset
        self.retention.apply()
        self._trim_tail()
        if self.at_end:
            waiting = self.at_end
            self.at_end = {}
            for cursor in waiting:
                self._serve_later(cursor)

    def _trim_tail(self) -> None:
        """Those that are too far behind to read there, or have no room, are no reason to keep it."""
        wanted = self.committed
        for cursor in self.cursors.values():
            if self.tail.first <= cursor.offset < wanted:
                wanted = cursor.offset
        self.tail.let_go(wanted)

    # Consumers

    def check_consume(self, arguments: Table, no_ack: bool, prefetch: int, per_channel: int) -> None:
        """Raises PreconditionFailed (406) and NotImplementedByBroker (540) in RabbitMQ 3.10.8's order."""
        where = self._described()
        offset = arguments.get(STREAM_OFFSET)
        if start_of(offset, 0) is None and offset is not None:
            shown = binary(offset.value) if isinstance(offset.value, bytes) else described(offset.value)
            fault = f"{{invalid_stream_offset_arg,{{{TYPE_NAMES[offset.kind]},{shown}}}}}"
            raise invalid_argument(STREAM_OFFSET, self.name, self.vhost, fault)
        if "x-priority" in arguments:
            raise of_another_type("x-priority", self.name, self.vhost, STREAM)
        try:
            filter_of(arguments)
        except ValueError as error:
            name, fault = error.args
            raise invalid_argument(name, self.name, self.vhost, fault) from None
        if not prefetch:
            raise PreconditionFailed(f"consumer prefetch count is not set for '{where}'")
        if no_ack:
            raise NotImplementedByBroker(f"automatic acknowledgement not supported by stream queues {where}")
        if per_channel:
            raise NotImplementedByBroker(f"{where} does not support global qos")

    def consume(self, consumer: Consumer) -> None:
        cursor = Cursor(consumer, filter_of(consumer.arguments))
        self._place(cursor)
        self.cursors[consumer] = cursor
        self._serve_later(cursor)

    def _place(self, cursor: Cursor) -> None:
        """Where it begins."""
        start = start_of(cursor.consumer.arguments.get(STREAM_OFFSET), int(self.shard.now))
        first, last = self.first_chunk(), self.last_chunk
        assert start is not None
        if start.kind == NEXT:
            cursor.offset = self.next_offset
        elif first is None or last is None:
            cursor.offset = start.value if start.kind == OFFSET else 0
        elif start.kind == FIRST:
            cursor.jump(first)
        elif start.kind == LAST:
            cursor.jump(last)
        elif start.kind == SINCE:
            if start.value > max(last.time, int(self.last_time)):
                cursor.offset = self.next_offset
            elif start.value <= first.time:
                cursor.jump(first)
            else:
                cursor.since = start.value
        else:
            end = int(self.next_offset)
            wanted = end - start.value if start.kind == BACK else start.value
            if wanted <= first.offset:
                cursor.jump(first)
            else:
                cursor.offset = wanted  # beyond the end, too: it waits for that one

    def cancel(self, consumer: Consumer) -> bool:
        consumer.cancelled = True
        cursor = self.cursors.pop(consumer)
        cursor.drop_page(self.shard)
        self.at_end.pop(cursor, None)
        if not self.cursors:
            self.tail.clear()
        return False

    def resume(self, consumer: Consumer) -> None:
        cursor = self.cursors.get(consumer)
        if cursor is not None and consumer.waiting:
            consumer.waiting = False
            self.resumed = True
            self._serve_later(cursor)

    def consumers(self) -> list[Consumer]:
        return list(self.cursors)

    def _serve_later(self, cursor: Cursor) -> None:
        if not cursor.queued:
            cursor.queued = True
            self.to_serve.append(cursor)
            self.mark_dirty()

    def pump(self) -> None:
        looked_at: i64 = 0
        while self.to_serve and looked_at < PUMP_MAX:
            cursors = self.to_serve
            self.to_serve = []
            if self.resumed:
                # Those of one connection have to share its outbox: who waits longest comes first.
                self.resumed = False
                cursors.sort(key=_served)
            served = 0
            for cursor in cursors:
                if looked_at >= PUMP_MAX:
                    break
                served += 1
                cursor.queued = False
                if not cursor.consumer.cancelled:
                    count = self._serve(cursor)
                    if count:
                        looked_at += count
                        self.services += 1
                        cursor.served = self.services
            if served < len(cursors):
                self.to_serve = cursors[served:] + self.to_serve
        if self.to_serve:
            self.mark_dirty()
        elif len(self.at_end) == len(self.cursors):
            self.tail.let_go(self.committed)

    def _serve(self, cursor: Cursor) -> i64:
        """Deliver what it can take; returns how many messages were looked at."""
        consumer = cursor.consumer
        channel = consumer.channel
        count: i64 = 0
        while not cursor.asked:
            if cursor.since == 0 and cursor.offset >= self.committed:
                self.at_end[cursor] = True
                cursor.let_go(self.shard)
                return count
            if not channel.can_take(consumer):
                consumer.waiting = True
                cursor.let_go(self.shard)
                return count
            if count == SERVE_MAX:
                self._serve_later(cursor)
                return count
            message = self._next(cursor)
            if message is not None:
                count += 1
                if cursor.filter is None or cursor.filter.wants(message.header):
                    self._deliver(consumer, message)
                cursor.passed(message)
        return count

    def _next(self, cursor: Cursor) -> Message | None:
        """The message it is to have next; None where it was asked for, to be read, or where the end was reached."""
        if cursor.has_page():
            return cursor.next_of_page()
        if cursor.since == 0:
            first = self.first_chunk()
            if first is not None and cursor.offset < first.offset:
                cursor.jump(first)
                if cursor.offset >= self.committed:
                    return None
            if cursor.offset >= self.tail.first:
                cursor.drop_page(self.shard)
                return self.tail.message(cursor.offset)
        cursor.ask(self.shard, self.lane, int(self.committed))
        return None

    def _deliver(self, consumer: Consumer, message: Message) -> None:
        entry = Entry(message, self.lane)
        entry.position = message.id
        self.in_flight += 1
        consumer.channel.deliver(consumer, entry)

    def page_loaded(self, request: PageRequest, entries: list[StoredEntry]) -> None:
        if isinstance(request, OldestChunks):
            self.retention.found(request.chunks)
        elif isinstance(request, CursorPage):
            self._page_came(request, entries)

    def _page_came(self, request: CursorPage, entries: list[StoredEntry]) -> None:
        cursor = request.cursor
        first = self.first_chunk()
        if cursor.consumer.cancelled:
            return
        assert first is not None
        waits = not entries and (request.since != 0 or request.offset >= first.offset)
        if waits:
            cursor.nothing_came(self.shard)
        else:
            cursor.take_page(self.shard, request, entries, first)
        if waits and request.committed == self.committed:
            self.at_end[cursor] = True  # what it waits for is not to be seen yet: the next commit wakes it
        else:
            self._serve_later(cursor)

    def _described(self) -> str:
        return f"queue '{self.name}' in vhost '{self.vhost}'"

    # Settling

    def settle(self, entry: Entry) -> None:
        self.in_flight -= 1

    def reject(self, entry: Entry) -> None:
        self.in_flight -= 1

    def requeue(self, entry: Entry, cause: i64) -> None:
        self.in_flight -= 1

    # What else can be asked of a queue

    def get(self) -> Entry | None:
        raise NotImplementedByBroker(f"basic.get not supported by stream queues {self._described()}")

    def purge(self) -> int:
        raise NotImplementedByBroker(f"queue.purge not supported by stream queues {self._described()}")

    def message_count(self) -> int:
        """All of them."""
        first = self.first_chunk()
        return 0 if first is None else int(self.next_offset) - first.offset

    def unacked_count(self) -> int:
        return int(self.in_flight)

    def apart(self) -> i64:
        return 0

    def lanes(self) -> list[Lane]:
        return [self.lane]

    # Start and end

    def restore(self, level: int, row: QueueSummary, redelivered: int) -> None:
        self.lane.stored_messages = row.messages
        self.lane.stored_bytes = row.bytes
        self.last_position = row.last

    def read_back(self, source: PageSource) -> None:
        """At the start, once: where it begins and ends."""
        stream = int(self.id)
        first, last = source.chunks(stream, -1, 1), source.last_chunk(stream)
        if last is None:
            return
        self.last_chunk = last
        self.retention.known.append(first[0])
        self.next_offset = first[0].offset + self.lane.stored_messages
        self.total_bytes = first[0].before + int(self.lane.stored_bytes)
        self.committed = self.next_offset
        self.tail.first = self.tail.end = self.next_offset
        self.retention.apply()

    def dispose(self) -> None:
        self.deleted = True
        self.retention.stop()


def _served(cursor: Cursor) -> int:
    return int(cursor.served)

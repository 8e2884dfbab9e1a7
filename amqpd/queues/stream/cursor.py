"""How far a consumer of a stream has come, and what it reads from the disk. Hot."""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from amqpd.broker.batch import Chunk, StoredEntry
from amqpd.broker.message import Message
from amqpd.broker.queue import Consumer, Lane
from amqpd.broker.shard import MESSAGE_COST, PAGE_BYTES_CROWDED, PageRequest, PageSource, Shard
from amqpd.queues.restored import Restored
from amqpd.queues.stream.filter import Filter
from amqpd.queues.stream.stamp import Stamp

UNKNOWN: Final = -1
# A page is no longer than what the consumer can soon take, but worth a read.
PAGE_MESSAGES_MIN: Final = 100


class CursorPage(PageRequest):
    """The messages behind ``after`` or, where that is UNKNOWN, from ``offset`` on.

    ``since``: not 0 where the offset is yet to be found: that of the first chunk that is not older (milliseconds since
    1970). ``committed``: that of the stream when it was asked for.
    """

    def __init__(self, cursor: Cursor, lane: Lane, limit: int, max_bytes: int, committed: int) -> None:
        super().__init__(lane, 0, int(cursor.position), limit, max_bytes)
        self.cursor = cursor
        self.offset = int(cursor.offset)
        self.since = int(cursor.since)
        self.committed = committed

    def read(self, source: PageSource) -> list[StoredEntry]:
        stream = int(self.lane.id)
        if self.since:
            chunk = source.chunk_since(stream, self.since)
            if chunk is None:
                return []
            self.offset, self.after = chunk.offset, chunk.position - 1
        elif self.after == UNKNOWN:
            position = source.place(stream, self.offset)
            if not position:
                return []
            self.after = position - 1
        return source.load(stream, self.after, self.limit, self.max_bytes)


@final
class Cursor:
    """``offset``: of the message that comes next. ``position``: of the one before it, or UNKNOWN.

    ``since``: see ``CursorPage``; 0 once the offset is known.
    ``queued``: it waits to be served. ``asked``: a page is on its way. ``served``: the higher, the later it was given
    messages.
    """

    def __init__(self, consumer: Consumer, wanted: Filter | None) -> None:
        self.consumer: Consumer = consumer
        self.filter: Filter | None = wanted
        self.offset: i64 = 0
        self.position: i64 = UNKNOWN
        self.since: i64 = 0
        self.queued: bool = False
        self.asked: bool = False
        self.served: i64 = 0
        self._page: list[Message] = []
        self._at: i64 = 0
        self.page_bytes: i64 = 0
        self._stamp: Stamp = Stamp()

    def has_page(self) -> bool:
        return self._at < len(self._page)

    def next_of_page(self) -> Message:
        """The next message, as it is delivered."""
        message = self._page[self._at]
        self._at += 1
        return self._stamp.message(message, self.offset)

    def passed(self, message: Message) -> None:
        """It was delivered, or is not wanted."""
        self.offset += 1
        self.position = message.id

    def ask(self, shard: Shard, lane: Lane, committed: int) -> None:
        """Have the next page read."""
        self.drop_page(shard)
        self.asked = True
        limit = shard.page_messages
        prefetch = self.consumer.prefetch
        if prefetch and self.filter is None and 2 * prefetch < limit:
            limit = max(2 * prefetch, PAGE_MESSAGES_MIN)
        max_bytes = shard.page_bytes
        if shard.window_bytes > shard.window_budget:
            max_bytes = PAGE_BYTES_CROWDED
            limit = min(limit, PAGE_MESSAGES_MIN)
        shard.page_requests.append(CursorPage(self, lane, int(limit), int(max_bytes), committed))
        # It counts from now on: many may ask before the first page comes.
        count = min(limit, lane.stored_messages)
        if count:
            average = lane.stored_bytes // lane.stored_messages
            self.page_bytes = min(count * average, max_bytes) + count * MESSAGE_COST
            shard.window_bytes += self.page_bytes

    def nothing_came(self, shard: Shard) -> None:
        """Instead of a page: all that could be read is ahead of what it waits for."""
        self.asked = False
        self.drop_page(shard)

    def take_page(self, shard: Shard, request: CursorPage, entries: list[StoredEntry], first: Chunk) -> None:
        """What was read. ``first``: where the stream begins now; what is ahead of that may lack in the page, or not."""
        self.asked = False
        self.drop_page(shard)
        offset = request.offset
        self.since = 0
        start = 0
        if offset < first.offset:
            offset = first.offset
            while start < len(entries) and entries[start].position < first.position:
                start += 1
        self.offset = offset
        if start == len(entries):
            self.position = first.position - 1
            return
        restored = Restored()
        page: list[Message] = []
        size: i64 = 0
        for stored in entries[start:]:
            message = restored.entry(stored, request.lane).message
            size += MESSAGE_COST + message.header.body_size
            page.append(message)
        self._page = page
        self._at = 0
        self.page_bytes = size
        shard.window_bytes += size

    def let_go(self, shard: Shard) -> None:
        """It is not served for a while: a page that is used up need not stay."""
        if self.page_bytes and self._at == len(self._page):
            self.drop_page(shard)

    def drop_page(self, shard: Shard) -> None:
        shard.window_bytes -= self.page_bytes
        self.page_bytes = 0
        self._page = []
        self._at = 0

    def jump(self, chunk: Chunk) -> None:
        """What it had to read next is gone: go on where the stream begins now."""
        self.offset = chunk.offset
        self.position = chunk.position - 1

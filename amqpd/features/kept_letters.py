"""dead-letter-strategy=at-least-once: a dead letter that nobody takes is kept and tried again.

1. In force as in RabbitMQ only beside overflow=reject-publish: what is dropped to make room cannot be kept.
2. A kept letter lies in the store as an entry of its old queue, as before it died; here is only where. It counts
   toward the length limits of that queue. It is no part of the queue otherwise: not delivered, not purged.
3. Every ``RETRY_MS`` the oldest are read back, routed anew and published to the queues that have not taken them
   yet; when all have, the entry is settled in the same batch. As long as that works the next ones follow at once.
4. ``KEPT_MAX`` letters of one queue are kept. What was to be one more returns to its place in the queue; messages
   past their TTL wait there until there is room, and block what is behind them.
5. A restart forgets what was kept: the entries are ready messages again, and die again.
6. A transient message that is not stored has nowhere to wait: it is dropped.
7. A letter for several queues that was refused by one may, after a crash, be published to the others again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, final

from mypy_extensions import i64

from amqpd.broker.batch import SHARED, StoredEntry
from amqpd.broker.letters import MAXLEN, Letter
from amqpd.broker.message import NOT_STORED, Address, Entry, Message
from amqpd.broker.queue import Lane, Queue
from amqpd.broker.shard import PageRequest
from amqpd.broker.timers import Timer
from amqpd.queues.classic import ClassicQueue
from amqpd.wire.basic import address
from amqpd.wire.content import header_from_properties

if TYPE_CHECKING:
    from amqpd.broker.broker import Broker

RETRY_MS: Final = 1000
# Letters read back at once.
RETRY_LETTERS: Final = 32


def may_keep(entry: Entry, queue: ClassicQueue, reason: str) -> bool:
    """Rules 1 and 6; and a queue that was deleted keeps nothing."""
    return (
        queue.text("dead-letter-strategy") == "at-least-once"
        and queue.text("overflow") in ("reject-publish", "reject-publish-dlx")
        and reason != MAXLEN
        and entry.batch != NOT_STORED
        and not entry.paged
        and not queue.deleted
    )


class Publisher(Protocol):
    """Who publishes a letter: the handler."""

    kept: dict[Queue, KeptLetters]

    def publish(self, broker: Broker, letter: Letter, taken: dict[Queue, bool], pending: list[Letter]) -> bool: ...

    def post(self, broker: Broker, letter: Letter) -> None: ...

    def settle(self, broker: Broker, entry: Entry) -> None: ...


@final
class Kept:
    """``taken``: the queues that have it already."""

    def __init__(self, entry: Entry, reason: str, taken: dict[Queue, bool]) -> None:
        self.lane: Lane = entry.lane
        self.position: i64 = entry.position
        self.batch: i64 = entry.batch
        self.size: i64 = entry.size()
        self.reason: str = reason
        self.taken: dict[Queue, bool] = taken


@final
class RetryTimer(Timer):
    def __init__(self, letters: KeptLetters) -> None:
        self.letters = letters

    def fire(self, now: int) -> None:
        self.letters.retry()


@final
class KeptLetters(Queue):
    """The kept letters of ``source``. A queue only in that the pages it asks for come to it."""

    def __init__(self, broker: Broker, publisher: Publisher, source: ClassicQueue) -> None:
        super().__init__(source.shard, source.vhost, source.name, False, False, None, {})
        self.broker = broker
        self.publisher = publisher
        self.source = source
        self.letters: dict[int, Kept] = {}  # by position, those that wait longest first
        self.asked = 0  # reads under way
        self.failed = False  # one of them could not be published again
        self.timer = RetryTimer(self)

    def keep(self, letter: Letter, taken: dict[Queue, bool]) -> None:
        source = self.source
        if source.kept >= self.shard.kept_max:
            self._put_back(letter.entry)
            return
        self._add(Kept(letter.entry, letter.reason, taken))
        self._wait(RETRY_MS)

    def _put_back(self, entry: Entry) -> None:
        """Rule 4. As a new entry: the queue's list may still have a slot for the old one, which is gone."""
        source = self.source
        same = Entry(entry.message, entry.lane)
        same.position, same.batch, same.deadline, same.early = entry.position, entry.batch, entry.deadline, entry.early
        same.deliveries, same.acquired = entry.deliveries, entry.acquired
        same.redelivered = True
        journal = self.shard.journal
        if same.batch == journal.number:
            # The open batch must hear of it when this one is settled before it is written.
            journal.inserted[journal.inserted.index(entry)] = same
        source.put_back(same)
        source.mark_dirty()

    def _add(self, kept: Kept) -> None:
        self.source.kept += 1
        self.source.kept_bytes += kept.size
        self.letters[int(kept.position)] = kept

    def _wait(self, milliseconds: int) -> None:
        if not self.asked and not self.timer.deadline:
            self.shard.timers.set(self.timer, int(self.shard.now) + milliseconds)

    def retry(self) -> None:
        """Ask for the letters that wait longest; ``page_loaded`` publishes them."""
        journal = self.shard.journal
        if self.source.deleted:
            self._forget_all()
            return
        if not journal.full():
            for position, kept in self.letters.items():
                if self.asked == RETRY_LETTERS or kept.batch > journal.committed:
                    break
                request = PageRequest(kept.lane, 0, position - 1, 1, 1)
                request.queue = self
                self.shard.page_requests.append(request)
                self.asked += 1
        self._wait(RETRY_MS)

    def page_loaded(self, request: PageRequest, entries: list[StoredEntry]) -> None:
        self.asked -= 1
        source = self.source
        if source.deleted:
            self._forget_all()
            return
        kept = self.letters.pop(request.after + 1)
        source.kept -= 1
        source.kept_bytes -= kept.size
        if entries and entries[0].position == kept.position:
            self._post(kept, _restored(entries[0], kept))
        if self.letters:
            if not self.asked:
                self._wait(RETRY_MS if self.failed else 0)
                self.failed = False
        else:
            self.failed = False
            self.publisher.kept.pop(source, None)

    def _post(self, kept: Kept, entry: Entry) -> None:
        pending: list[Letter] = []
        gone = self.publisher.publish(self.broker, Letter(entry, kept.reason), kept.taken, pending)
        for letter in pending:
            self.publisher.post(self.broker, letter)
        self.failed = self.failed or not gone
        # The settings may have changed since it was kept.
        if gone or not may_keep(entry, self.source, kept.reason):
            self.publisher.settle(self.broker, entry)
        else:
            self._add(kept)

    def _forget_all(self) -> None:
        self.letters.clear()
        self.publisher.kept.pop(self.source, None)


def _restored(stored: StoredEntry, kept: Kept) -> Entry:
    """The entry as it was when it was kept: neither ready nor in flight."""
    where = Address(stored.exchange, stored.routing_key, address(stored.exchange, stored.routing_key))
    message = Message(where, header_from_properties(stored.properties, len(stored.body)), stored.body)
    message.id = stored.position
    message.copies = 2 if stored.flags & SHARED else 1
    entry = Entry(message, kept.lane)
    entry.position = stored.position
    entry.batch = kept.batch
    return entry

"""Messages that wait for their time: an internal queue in order of due time. Hot.

1. A waiting message is an entry with a deadline, and *early*: the store's index of deadlines has it. A durable schedule
   stores everything it is given, whatever its delivery mode; another one puts everything on disk for as long as the
   broker runs. So memory does not grow with what waits, and the number of waiting messages is known without counting.
2. ``window`` holds those that come next, in a heap. Everything up to the ``horizon``, a pair of deadline and position,
   is in the window; everything behind it is on disk. While all fits the window the horizon is the end of time.
3. What lies behind the horizon and is not on disk yet is ``unwritten``; it is let go when its batch is committed.
4. When the window runs low the next page is read. A read may not see what happened since it began: what is in memory is
   right whatever was read, and a position in ``gone`` was settled. Both are kept until every read sees them.
5. When the first deadline passes, the keeper publishes the message, and the entry is settled in the same open batch: it
   is in the schedule or in the queues, whatever happens in between. That is done by the turn, a bounded number at once.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64, mypyc_attr

from amqpd.broker.batch import QueueSummary, StoredEntry
from amqpd.broker.letters import Poster
from amqpd.broker.message import Entry, Message
from amqpd.broker.queue import Consumer, Lane, Queue
from amqpd.broker.shard import PageRequest, PageSource, Shard
from amqpd.broker.timers import Timer
from amqpd.queues.restored import Restored
from amqpd.wire.table import Table

if TYPE_CHECKING:
    from amqpd.broker.broker import Broker

# What the window may hold: beyond it the later half goes. With a quarter left, a page of a quarter is read.
WINDOW_MESSAGES: Final = 8192
WINDOW_BYTES: Final = 8 << 20
# Messages of one name that a look-up finds at once.
NAMED_MAX: Final = 1000

END_OF_TIME: Final = (1 << 63) - 1

# How long a message waits again after a fault.
FAULT_MS: Final = 60_000

# What a keeper answers besides a new deadline.
DONE: Final = 0
KEPT: Final = -1

# Lateness is counted by the number of bits of its milliseconds: on time, 1, 2 to 3, 4 to 7 ...
LATENESS_BITS: Final = 40


@mypyc_attr(allow_interpreted_subclasses=True)
class Keeper:
    """Who a schedule belongs to."""

    def deadline(self, message: Message) -> i64:
        """When ``message`` is due, in milliseconds since 1970."""
        raise NotImplementedError

    def is_limited(self, message: Message) -> bool:
        """Whether ``message`` is refused when ``Schedule.limit`` is reached."""
        return True

    def due(self, entry: Entry) -> i64:
        """Its time has come: publish it into the open batch. What is raised is reported, and the message tried again.

        DONE: it is settled. KEPT: it waits, out of the order, until the keeper calls ``Schedule.settle``; a restart
        makes it due again. Anything else is another deadline, which is written.
        """
        raise NotImplementedError

    def found(self, asking: Entry, entries: list[Entry]) -> None:
        """The answer to ``Schedule.look_up``: those of that name that wait; at most NAMED_MAX."""


@final
class Upcoming(PageRequest):
    """The entries behind ``behind``, a pair of deadline and position. ``number``: of the read.

    ``overdue``: how many have a deadline not above ``overdue_up_to``; not asked for when that is 0.
    """

    def __init__(
        self, lane: Lane, number: int, generation: int, behind: tuple[int, int], limit: int, overdue_up_to: int
    ) -> None:
        super().__init__(lane, generation, 0, limit, WINDOW_BYTES // 4)
        self.number: int = number
        self.behind: tuple[int, int] = behind
        self.overdue_up_to: int = overdue_up_to
        self.overdue: int = 0

    def read(self, source: PageSource) -> list[StoredEntry]:
        if self.overdue_up_to:
            self.overdue = source.overdue(int(self.lane.id), self.overdue_up_to)
        return source.upcoming(int(self.lane.id), self.behind, self.limit, self.max_bytes)


@final
class Named(PageRequest):
    """Those with a message-id; ``asking`` is the entry that asks. ``number``: of the read."""

    def __init__(self, lane: Lane, number: int, generation: int, name: str, asking: Entry) -> None:
        super().__init__(lane, generation, 0, NAMED_MAX, END_OF_TIME)
        self.number: int = number
        self.name: str = name
        self.asking: Entry = asking

    def read(self, source: PageSource) -> list[StoredEntry]:
        return source.named(int(self.lane.id), self.name, self.limit)


@final
class DueTimer(Timer):
    def __init__(self, poster: DuePoster) -> None:
        self.poster: DuePoster = poster

    def fire(self, now: int) -> None:
        self.poster.call()


@final
class DuePoster(Poster):
    """The schedule in the turn. (A class has one native base: the schedule is a Queue already.)"""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule: Schedule = schedule
        self.called: bool = False  # it is on Shard.due

    def call(self) -> None:
        if not self.called:
            self.called = True
            self.schedule.shard.due.append(self)

    def post(self, broker: Broker, limit: i64) -> None:
        self.called = False
        if not self.schedule.deleted:
            self.schedule.post(broker, limit)


@final
class Schedule(Queue):
    """``count`` and ``size``: messages that wait, and octets of their bodies. ``limit``: at most so many, -1 for any.

    ``restored_at``: when a restart found it; what was due before is overdue. 0 for a new one.
    ``overdue``: how many of those there were; -1 while nobody asked (``attach``).
    ``posted``: messages whose time came. ``lateness``: of those, how many by the bits of their lateness.
    """

    def __init__(
        self,
        shard: Shard,
        vhost: str,
        name: str,
        durable: bool,
        auto_delete: bool,
        owner: object,
        arguments: Table,
    ) -> None:
        super().__init__(shard, vhost, name, durable, auto_delete, owner, arguments)
        self.keeper: Keeper = Keeper()
        self.lane: Lane = Lane(self, 0)
        self.limit: i64 = -1
        self.count: i64 = 0
        self.size: i64 = 0
        self.heap: list[tuple[int, int, Entry]] = []  # by deadline and position; with places of those that left
        self.window: dict[int, Entry] = {}  # by position
        self.window_bytes: i64 = 0
        self.window_messages_max: i64 = WINDOW_MESSAGES
        self.horizon: tuple[int, int] = (END_OF_TIME, END_OF_TIME)
        # By position, the entry and the batch that must be committed before the disk knows it.
        self.unwritten: dict[int, tuple[int, Entry]] = {}
        self.gone: dict[int, int] = {}  # by position, the batch that settles it
        self.purged_up_to: i64 = 0  # a read may still see what a purge dropped
        self.kept: dict[int, Entry] = {}  # by position; out of the order
        self.looking: list[tuple[str, Entry]] = []  # look-ups that wait for a commit
        self.reading: bool = False  # a page was asked for
        # Of the reads under way, by their number: the last batch each sees for sure.
        self.reads: dict[int, int] = {}
        self.read_number: i64 = 0
        self.generation: i64 = 0
        self.told_batch: i64 = 0
        self.restored: Restored = Restored()
        self.restored_at: i64 = 0
        self.overdue: int = -1
        self.poster: DuePoster = DuePoster(self)
        self.timer: DueTimer = DueTimer(self.poster)
        self.posted: i64 = 0
        self.lateness: list[int] = [0] * LATENESS_BITS

    def identify(self, first: i64) -> None:
        self.id = first
        self.lane = Lane(self, 0)
        self.lane.named = True

    def attach(self, keeper: Keeper, counts_overdue: bool) -> None:
        """From now on it is ``keeper``'s. ``counts_overdue``: ``overdue`` is wanted before anything overdue is due."""
        self.keeper = keeper
        if not counts_overdue or not self.count:
            self.overdue = 0
        self._fill()

    # What enters and leaves

    def publish(self, message: Message) -> bool:
        return self.put(message, self.keeper.deadline(message))

    def put(self, message: Message, deadline: i64) -> bool:
        """Keep ``message`` until ``deadline``; False when there is no room for it."""
        if 0 <= self.limit <= self.count and self.keeper.is_limited(message):
            return False
        journal = self.shard.journal
        entry = journal.place(message, self.lane)
        entry.deadline = deadline
        entry.early = True
        entry.paged = not self.durable
        journal.insert(entry)
        self.count += 1
        self.size += entry.size()
        self._place(entry)
        return True

    def settle(self, entry: Entry) -> None:
        """It waits no more."""
        position = int(entry.position)
        self._forget(entry)
        self.kept.pop(position, None)
        journal = self.shard.journal
        if entry.batch != journal.number:
            self.gone[position] = int(journal.number)
            self._hear_of_commit()
        self.count -= 1
        self.size -= entry.size()
        journal.settle(entry)
        self._fill()

    def move(self, entry: Entry, deadline: i64) -> None:
        """It waits until another time."""
        self._forget(entry)
        self.kept.pop(int(entry.position), None)
        entry.deadline = deadline
        self.shard.journal.move(entry)
        self._place(entry)
        self._fill()

    def begin_read(self) -> int:
        """The store is read beside the turns: ``holding`` is right about what was read until ``end_read``."""
        self.read_number += 1
        number = int(self.read_number)
        self.reads[number] = int(self.shard.journal.committed)
        return number

    def end_read(self, number: int) -> None:
        """Of the number that ``begin_read`` gave. Once for each."""
        del self.reads[number]
        self._let_go()

    def holding(self, stored: StoredEntry | None, position: int) -> Entry | None:
        """The entry at ``position`` if it still waits. ``stored``: what a read found there, None for nothing."""
        entry = self.window.get(position)
        if entry is not None:
            return entry
        place = self.unwritten.get(position)
        if place is not None:
            return place[1]
        if position in self.kept:
            return self.kept[position]
        if stored is None or self._knows(position) or (stored.deadline, position) <= self.horizon:
            return None
        return self.restored.entry(stored, self.lane)

    def look_up(self, name: str, asking: Entry) -> None:
        """Find those with this message-id that were published before ``asking``; ``Keeper.found`` is called later."""
        self.kept[int(asking.position)] = asking
        journal = self.shard.journal
        if asking.batch <= journal.committed:
            self._ask(name, asking)
            return
        self.looking.append((name, asking))
        if asking.batch == journal.number:
            self._hear_of_commit()
        else:
            journal.paging_sealed.append(self)  # it is under way; the open one may never be written

    def _ask(self, name: str, asking: Entry) -> None:
        self.shard.page_requests.append(Named(self.lane, self.begin_read(), int(self.generation), name, asking))

    # The window

    def _place(self, entry: Entry) -> None:
        """Rules 2 and 3."""
        deadline, position = int(entry.deadline), int(entry.position)
        if (deadline, position) <= self.horizon:
            heappush(self.heap, (deadline, position, entry))
            self.window[position] = entry
            self.window_bytes += entry.size()
            if len(self.window) > self.window_messages_max or self.window_bytes > WINDOW_BYTES:
                self._shrink()
            if not self.timer.deadline or deadline < self.timer.deadline:
                self._wind()
        else:
            self.unwritten[position] = (int(self.shard.journal.number), entry)
            self._hear_of_commit()

    def _forget(self, entry: Entry) -> None:
        """Take it out of memory, wherever it is."""
        position = int(entry.position)
        if self.window.pop(position, None) is not None:
            self.window_bytes -= entry.size()
            if len(self.heap) > 2 * len(self.window) + WINDOW_MESSAGES:
                self.heap = [place for place in self.heap if self._stands(place)]
                heapify(self.heap)
        else:
            self.unwritten.pop(position, None)

    def _stands(self, place: tuple[int, int, Entry]) -> bool:
        deadline, position, entry = place
        return entry.deadline == deadline and self.window.get(position) is entry

    def _shrink(self) -> None:
        """Let the later half go, with the next commit."""
        journal = self.shard.journal
        # The heap may have a place twice, of one that was moved away and back.
        places = sorted([_place_of(entry) for entry in self.window.values()], key=_key)
        messages_max, bytes_max = self.window_messages_max // 2, WINDOW_BYTES // 2
        size: i64 = 0
        kept: i64 = 0
        for place in places:
            size += place[2].size()
            if kept and (kept == messages_max or size > bytes_max):
                break
            kept += 1
        self.heap = places[:kept]
        deadline, position, _ = places[kept - 1]
        self.horizon = (deadline, position)
        for _, position, entry in places[kept:]:
            del self.window[position]
            self.window_bytes -= entry.size()
            # Its deadline may have been moved by a batch that is not committed.
            self.unwritten[position] = (int(journal.number), entry)
        self._hear_of_commit()

    def _fill(self) -> None:
        """Rule 4: ask for the next page when the window runs low."""
        quarter = max(1, int(self.window_messages_max // 4))
        if self.reading or self.horizon[0] == END_OF_TIME:
            return
        if len(self.window) > quarter or self.window_bytes > WINDOW_BYTES // 4:
            return
        self.reading = True
        overdue_up_to = int(self.restored_at) if self.overdue < 0 else 0
        request = Upcoming(self.lane, self.begin_read(), int(self.generation), self.horizon, quarter, overdue_up_to)
        self.shard.page_requests.append(request)

    def page_loaded(self, request: PageRequest, entries: list[StoredEntry]) -> None:
        if isinstance(request, Named):
            self._found(request, entries)
            self.end_read(request.number)
            return
        assert isinstance(request, Upcoming)
        self.reading = False
        if request.overdue_up_to:
            self.overdue = request.overdue
        if request.generation == self.generation:
            self._advance(request, entries)
        self.end_read(request.number)
        self._fill()
        self._wind()

    def _advance(self, request: Upcoming, entries: list[StoredEntry]) -> None:
        """The horizon moves behind what was read."""
        if request.behind != self.horizon:
            return  # the window was cut meanwhile: what was read lies behind a gap
        size = 0
        for stored in entries:
            size += len(stored.body)
        if len(entries) < request.limit and size <= request.max_bytes:
            self.horizon = (END_OF_TIME, END_OF_TIME)
        else:
            self.horizon = (entries[-1].deadline, entries[-1].position)
        waiting = [entry for _, entry in self.unwritten.values()]
        for stored in entries:
            if not self._knows(stored.position):
                self._place(self.restored.entry(stored, self.lane))
        for entry in waiting:
            if (entry.deadline, entry.position) <= self.horizon and int(entry.position) in self.unwritten:
                del self.unwritten[int(entry.position)]
                self._place(entry)

    def _knows(self, position: int) -> bool:
        """Memory is right about it, whatever a read found."""
        if position in self.window or position in self.unwritten or position in self.kept:
            return True
        return position in self.gone or position <= self.purged_up_to

    def _found(self, request: Named, entries: list[StoredEntry]) -> None:
        asking = request.asking
        if request.generation != self.generation or int(asking.position) not in self.kept:
            return
        found: list[Entry] = []
        for stored in entries:
            if stored.position < asking.position:
                entry = self.holding(stored, stored.position)
                if entry is not None:
                    found.append(entry)
        self.keeper.found(asking, found)

    def _hear_of_commit(self) -> None:
        journal = self.shard.journal
        if self.told_batch != journal.number:
            self.told_batch = journal.number
            journal.paging.append(self)

    def batch_committed(self, number: i64) -> None:
        self._let_go()
        if self.looking:
            looking = self.looking
            self.looking = []
            for name, asking in looking:
                if asking.batch <= number:
                    self._ask(name, asking)
                else:
                    self.looking.append((name, asking))

    def _let_go(self) -> None:
        """Forget what every read sees, those under way and those to come."""
        number = min(self.reads.values()) if self.reads else int(self.shard.journal.committed)
        # Collected first: taking the first item of a dict again and again looks at every place it ever had.
        seen: list[int] = []
        for position, place in self.unwritten.items():
            if place[0] > number:
                break
            seen.append(position)
        for position in seen:
            del self.unwritten[position]
        seen = []
        for position, batch in self.gone.items():
            if batch > number:
                break
            seen.append(position)
        for position in seen:
            del self.gone[position]
        if self.unwritten or self.gone or self.looking:
            self._hear_of_commit()

    # Time

    def _wind(self) -> None:
        """Set the timer to the first deadline."""
        heap = self.heap
        while heap and not self._stands(heap[0]):
            heappop(heap)
        if not heap:
            self.shard.timers.cancel(self.timer)
        elif heap[0][0] <= self.shard.now:
            self.poster.call()
        elif self.timer.deadline != heap[0][0]:
            self.shard.timers.set(self.timer, heap[0][0])

    def post(self, broker: Broker, limit: i64) -> None:
        """Publish at most ``limit`` of those whose time has come."""
        now = self.shard.now
        heap = self.heap
        left = limit
        if self.overdue < 0:
            return  # the first page tells how many are overdue
        while heap and heap[0][0] <= now and left and broker.has_room():
            place = heappop(heap)
            if self._stands(place):
                left -= 1
                self._come(broker, place[2], int(now))
                heap = self.heap  # it may have been made anew
        self._wind()

    def _come(self, broker: Broker, entry: Entry, now: int) -> None:
        late = now - int(entry.deadline)
        position = int(entry.position)
        try:
            answer = self.keeper.due(entry)
        except Exception as error:  # a fault of a plugin must not end the broker, nor lose the message
            broker.reports.append(f"{self.kind} '{self.name}' in vhost '{self.vhost}' failed, tried again: {error!r}")
            answer = now + FAULT_MS
        if answer == KEPT:
            self._forget(entry)
            self.kept[position] = entry
            self._fill()
            return
        self.posted += 1
        if entry.deadline > self.restored_at:
            self.lateness[min(late.bit_length(), LATENESS_BITS - 1)] += 1
        if answer == DONE:
            self.settle(entry)
        else:
            self.move(entry, answer)

    def next_deadline(self) -> int:
        """The first deadline in the window; 0 when it is empty."""
        self._wind()
        return self.heap[0][0] if self.heap else 0

    # A queue

    def restore(self, level: int, row: QueueSummary, redelivered: int) -> None:
        self.count = row.messages
        self.size = row.bytes
        self.lane.stored_messages = row.messages
        self.lane.stored_bytes = row.bytes
        self.restored_at = self.shard.now
        if row.messages:
            self.horizon = (0, 0)

    def message_count(self) -> int:
        return int(self.count)

    def unacked_count(self) -> int:
        return 0

    def consumers(self) -> list[Consumer]:
        return []

    def pump(self) -> None:
        """Nobody consumes it."""

    def purge(self) -> int:
        """Drop everything that waits; returns how many."""
        journal = self.shard.journal
        dropped, stored, stored_bytes = int(self.count), self.count, self.size
        held = [*self.window.values(), *[entry for _, entry in self.unwritten.values()], *self.kept.values()]
        for entry in held:
            if entry.batch == journal.number:
                stored -= 1
                stored_bytes -= entry.size()
                journal.settle(entry)
        if stored:
            journal.purged.append((int(self.lane.id), 0, int(journal.next_id) - 1))
            if self.durable:
                self.lane.stored_messages -= stored
                self.lane.stored_bytes -= stored_bytes
                journal.depth_touched(self.lane)
        self.purged_up_to = journal.next_id - 1
        self._empty()
        return dropped

    def _empty(self) -> None:
        self.generation += 1
        self.count = self.size = self.window_bytes = 0
        self.heap = []
        self.window.clear()
        self.unwritten.clear()
        self.gone.clear()
        self.kept.clear()
        self.looking = []
        self.horizon = (END_OF_TIME, END_OF_TIME)
        self.shard.timers.cancel(self.timer)

    def dispose(self) -> None:
        self.deleted = True
        if not self.durable:
            self.shard.journal.purged.append((int(self.lane.id), 0, END_OF_TIME))
        self._empty()


def _place_of(entry: Entry) -> tuple[int, int, Entry]:
    return int(entry.deadline), int(entry.position), entry


def _key(place: tuple[int, int, Entry]) -> tuple[int, int]:
    return place[0], place[1]

"""The keys an exchange has seen and still remembers.

1. A key is remembered until it expires; one without a time to live until there is no room. Those are numbered from
   ``FOREVER`` on in the order they came, so that all keys have one order: that of ``expires``.
2. Where there is no room the first in that order goes: without times to live, or with equal ones, the oldest.
3. Keys with the window's time to live, or without one, come in this order and lie in a run. Those with one of their
   own are in a heap.
4. A key that has expired is no duplicate any more, from that millisecond on. It is taken out a little later.
5. With a ``space`` everything is noted in the journal, in the batch of the message it belongs to, and found again after
   a restart.
"""

from __future__ import annotations

from array import array
from collections import deque
from heapq import heappop, heappush
from typing import Final

from amqpd.broker.journal import Journal
from amqpd.broker.shard import PageSource, Shard
from amqpd.broker.timers import Timer
from amqpd_message_deduplication.index import Index
from amqpd_message_deduplication.keys import KEY_SIZE

FOREVER: Final = 1 << 62
PAGE_NOTES: Final = 50_000
# Expired keys are taken out at most so often, and so many at once.
SWEEP_MS: Final = 1_000
SWEEP_KEYS: Final = 2_000
SWEEP_AGAIN_MS: Final = 20
SWEEP_ADDING: Final = 4


class Window:
    """``size``: keys at most. ``ttl``: milliseconds, None for none. ``space``: where it is noted, 0 for nowhere.

    ``batch``: the last batch that stores a message whose key was added; a duplicate is not confirmed before it.
    """

    def __init__(self, shard: Shard, size: int, ttl: int | None, space: int) -> None:
        self.size = size
        self.ttl = ttl
        self.space = space
        self.batch = 0
        self.index = Index()
        self.shard = shard
        self._run = Run()
        self._heap: list[bytes] = []  # each ``expires`` and key
        self._forever = FOREVER
        self._sweep = Sweep(self)

    @property
    def journal(self) -> Journal:
        return self.shard.journal

    def seen(self, key: bytes) -> bool:
        expires = self.index.get(key)
        return expires is not None and expires > self.shard.now

    def add(self, key: bytes, ttl: int | None) -> None:
        """Remember a key that is not ``seen``. ``ttl``: its own, None for the window's; 0 or less is not at all."""
        own = ttl is not None
        ttl = self.ttl if ttl is None else ttl
        if ttl is not None and ttl <= 0:
            return
        if self.index.count >= self.size:
            self._make_room()
        if ttl is None:
            self._forever += 1
            expires = self._forever
        else:
            expires = min(int(self.shard.now) + ttl, FOREVER)
        self.index.put(key, expires)
        self._place(key, expires, own)
        if self.space:
            self.journal.note(self.space, key, expires)
        self._wake(expires)

    def _place(self, key: bytes, expires: int, own: bool) -> None:
        if own or expires < self._run.last:
            heappush(self._heap, expires.to_bytes(8) + key)
        else:
            self._run.append(key, expires)

    def _make_room(self) -> None:
        self.expire(SWEEP_ADDING)
        while self.index.count >= self.size:
            self._remove_first()

    def expire(self, limit: int) -> bool:
        """Take out what has expired, at most ``limit`` keys; False when there may be more."""
        now = int(self.shard.now)
        for _ in range(limit):
            first = self._first()
            if not first or first > now:
                return True
            self._remove_first()
        return False

    def _first(self) -> int:
        """When the first key expires; 0 when there is none."""
        first = self._run.first()
        if self._heap:
            early = int.from_bytes(self._heap[0][:8])
            return min(first, early) if first else early
        return first

    def _remove_first(self) -> None:
        first = self._run.first()
        if self._heap and (not first or int.from_bytes(self._heap[0][:8]) < first):
            place = heappop(self._heap)
            expires, key = int.from_bytes(place[:8]), place[8:]
        else:
            expires, key = self._run.pop()
        # A key that had expired may have come again, and then has another place.
        if self.index.get(key) == expires:
            self.index.discard(key)
            if self.space:
                self.journal.forget_note(self.space, key)

    def _wake(self, expires: int) -> None:
        if expires >= FOREVER:
            return
        deadline = max(expires, int(self.shard.now) + SWEEP_MS)
        if not self._sweep.deadline or deadline < self._sweep.deadline:
            self.shard.timers.set(self._sweep, deadline)

    def sweep(self) -> None:
        """Some time has passed."""
        if not self.expire(SWEEP_KEYS):
            self.shard.timers.set(self._sweep, int(self.shard.now) + SWEEP_AGAIN_MS)
        elif first := self._first():
            self._wake(first)

    def read_back(self, source: PageSource) -> None:
        """At the start: what the store remembers. What expired meanwhile is dropped there at once."""
        now = int(self.shard.now)
        found: list[tuple[int, bytes]] = []
        noted = 0
        after = b""
        while page := source.notes(self.space, after, PAGE_NOTES):
            after = page[-1][0]
            noted += len(page)
            found += [(expires, key) for key, expires in page if expires > now]
        if noted > len(found):
            self.journal.forget_notes(self.space, now)
        found.sort()
        latest = FOREVER << 1 if self.ttl is None else now + self.ttl
        self.index.fill(found)
        for expires, key in found:
            self._place(key, expires, expires > latest or (self.ttl is None and expires < FOREVER))
        if found:
            self._forever = max(self._forever, found[-1][0])
            self._wake(found[0][0])

    def close(self) -> None:
        self.shard.timers.cancel(self._sweep)


class Sweep(Timer):
    def __init__(self, window: Window) -> None:
        self.window = window

    def fire(self, now: int) -> None:
        self.window.sweep()


class Run:
    """Keys in the order of ``expires``, first in, first out: 24 octets each, in pieces.

    ``last``: the highest ``expires`` that is in it; 0 when it is empty.
    """

    PIECE: Final = 1024  # keys

    def __init__(self) -> None:
        self.last = 0
        self._pieces: deque[tuple[bytearray, array[int]]] = deque()
        self._at = 0  # keys of the first piece that are gone

    def append(self, key: bytes, expires: int) -> None:
        if not self._pieces or len(self._pieces[-1][1]) == self.PIECE:
            self._pieces.append((bytearray(), array("q")))
        keys, times = self._pieces[-1]
        keys += key
        times.append(expires)
        self.last = expires

    def first(self) -> int:
        """The lowest ``expires``; 0 when it is empty."""
        return self._pieces[0][1][self._at] if self._pieces else 0

    def pop(self) -> tuple[int, bytes]:
        """The first: when it expires, and the key."""
        keys, times = self._pieces[0]
        at = self._at
        self._at += 1
        if self._at == len(times):
            self._pieces.popleft()
            self._at = 0
            if not self._pieces:
                self.last = 0
        return times[at], bytes(keys[at * KEY_SIZE : (at + 1) * KEY_SIZE])

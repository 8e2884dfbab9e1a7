"""What an exchange remembers: how long, how much, and what the store has of it."""

from __future__ import annotations

from hashlib import blake2b
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amqpd.broker.journal import Journal
from amqpd.broker.shard import PageSource, Shard
from amqpd_message_deduplication.window import FOREVER, SWEEP_KEYS, Window

NOW = 1_000_000
SPACE = 7


def key(name: object) -> bytes:
    return blake2b(repr(name).encode(), digest_size=16).digest()


class Store:
    """Takes what the journal notes, and gives it back."""

    def __init__(self) -> None:
        self.rows: dict[bytes, int] = {}

    def take(self, journal: Journal) -> None:
        if journal.empty():
            return
        batch = journal.seal()
        for _, up_to in batch.outdated:
            self.rows = {key: expires for key, expires in self.rows.items() if expires > up_to}
        self.rows |= {key: expires for _, key, expires in batch.notes}
        for _, name in batch.forgotten:
            self.rows.pop(name, None)
        journal.batch_committed()

    def notes(self, space: int, after: bytes, limit: int) -> list[tuple[bytes, int]]:
        assert space == SPACE
        return sorted(row for row in self.rows.items() if row[0] > after)[:limit]


def made(size: int = 100, ttl: int | None = None, space: int = 0) -> tuple[Shard, Window]:
    shard = Shard(Journal(1, 0))
    shard.now = NOW
    return shard, Window(shard, size, ttl, space)


def advance(shard: Shard, milliseconds: int) -> None:
    end = int(shard.now) + milliseconds
    while (deadline := shard.timers.next_deadline()) and deadline <= end:
        shard.now = deadline
        shard.timers.fire(deadline)
    shard.now = end


def test_a_key_is_remembered_until_its_time() -> None:
    shard, window = made(ttl=500)
    window.add(key(1), None)
    advance(shard, 499)
    assert window.seen(key(1))
    advance(shard, 1)
    assert not window.seen(key(1))


def test_the_oldest_goes_where_there_is_no_room() -> None:
    _, window = made(size=3)
    for name in range(5):
        window.add(key(name), None)
    assert [window.seen(key(name)) for name in range(5)] == [False, False, True, True, True]


def test_an_own_time_to_live_may_be_shorter_or_longer() -> None:
    shard, window = made(ttl=1000)
    window.add(key("long"), 5000)
    window.add(key("usual"), None)
    window.add(key("short"), 100)
    window.add(key("none"), 0)
    window.add(key("less"), -1)
    assert window.index.count == 3
    for milliseconds, left in ((100, ["long", "usual"]), (900, ["long"]), (4000, [])):
        advance(shard, milliseconds)
        assert [name for name in ("long", "usual", "short", "none", "less") if window.seen(key(name))] == left


def test_a_key_that_comes_again_after_its_time_is_remembered_anew() -> None:
    shard, window = made(ttl=500)
    window.add(key(1), None)
    advance(shard, 600)
    window.add(key(1), None)
    advance(shard, 450)  # what was taken out meanwhile is not the new one
    assert window.seen(key(1))
    advance(shard, 3000)
    assert window.index.count == 0


def test_expired_keys_are_taken_out_in_pieces() -> None:
    shard, window = made(size=10 * SWEEP_KEYS, ttl=500)
    for name in range(2 * SWEEP_KEYS + 5):
        window.add(key(name), None)
    counts = []
    while deadline := shard.timers.next_deadline():
        advance(shard, deadline - int(shard.now))
        counts.append(window.index.count)
    assert counts == [SWEEP_KEYS + 5, 5, 0]
    window.add(key("next"), None)
    assert shard.timers.next_deadline()
    window.close()
    assert not shard.timers.next_deadline()


def test_one_without_a_time_to_live_needs_no_timer() -> None:
    shard, window = made()
    window.add(key(1), None)
    assert not shard.timers.next_deadline()
    assert shard.journal.empty()


def test_what_is_noted_is_found_again_in_its_order() -> None:
    store = Store()
    shard, window = made(size=10, space=SPACE)
    for name in range(12):
        window.add(key(name), None)
    window.add(key("timed"), 50)
    store.take(shard.journal)
    assert set(store.rows) == {key(name) for name in [*range(3, 12), "timed"]}
    shard, window = made(size=10, space=SPACE)
    window.read_back(cast(PageSource, store))
    assert shard.journal.empty()
    window.add(key(12), None)  # the one with a time to live goes first
    window.add(key(13), None)
    store.take(shard.journal)
    assert set(store.rows) == {key(name) for name in range(4, 14)}
    assert max(store.rows.values()) > FOREVER + 10


def test_what_expired_before_the_start_is_dropped_in_the_store() -> None:
    store = Store()
    shard, window = made(ttl=500, space=SPACE)
    window.add(key(1), None)
    window.add(key(2), 5000)
    store.take(shard.journal)
    shard, window = made(ttl=500, space=SPACE)
    shard.now = NOW + 600
    window.read_back(cast(PageSource, store))
    store.take(shard.journal)
    assert list(store.rows) == [key(2)]
    window.add(key(1), None)
    advance(shard, 10_000)
    store.take(shard.journal)
    assert store.rows == {}
    assert window.index.count == 0


def test_a_restart_reads_in_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    shard, window = made(space=SPACE)
    for name in range(10):
        window.add(key(name), None)
    store.take(shard.journal)
    shard, window = made(space=SPACE)
    monkeypatch.setattr("amqpd_message_deduplication.window.PAGE_NOTES", 3)
    window.read_back(cast(PageSource, store))
    assert all(window.seen(key(name)) for name in range(10))


Step = tuple[int, int | None, int]  # a name, its time to live, and milliseconds before it comes


@given(
    st.lists(st.tuples(st.integers(0, 20), st.none() | st.integers(0, 60), st.integers(0, 1200)), max_size=80),
    st.none() | st.integers(1, 50),
    st.integers(0, 80),
)
@settings(max_examples=150, deadline=None)
def test_a_window_with_room_is_a_dict_of_times(steps: list[Step], ttl: int | None, restart_at: int) -> None:
    store = Store()
    shard, window = made(100, ttl, SPACE)
    model: dict[int, float] = {}
    for at, (name, own, wait) in enumerate(steps):
        advance(shard, wait % 90 if at % 3 else wait)
        now = int(shard.now)
        if at == restart_at:
            store.take(shard.journal)
            shard, window = made(100, ttl, SPACE)
            shard.now = now
            window.read_back(cast(PageSource, store))
        remembered = model.get(name, 0.0) > now
        assert window.seen(key(name)) == remembered
        if not remembered:
            window.add(key(name), own)
            lives = ttl if own is None else own
            model[name] = float("inf") if lives is None else now + lives
    advance(shard, 100_000)
    store.take(shard.journal)
    left = {key(name) for name, expires in model.items() if expires > int(shard.now)}
    assert set(store.rows) == left
    assert window.index.count == len(left)

"""The log is copied back and used again, whatever the writer and the readers do meanwhile."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from amqpd.store import checkpoint
from amqpd.store.checkpoint import REST_BYTES
from amqpd.store.sqlite import SqliteStore
from tests.store.batches import Writer, positions
from tests.store.conftest import SqlitePlace

MIB = 1 << 20
STEP_BYTES = 32 * MIB


def start(place: SqlitePlace) -> tuple[SqliteStore, Writer]:
    writer, _, _ = place.start()
    assert isinstance(writer.store, SqliteStore)
    writer.store.checkpointer.step_bytes = STEP_BYTES
    return writer.store, writer


def write(writer: Writer, size: int) -> None:
    """At least ``size`` octets into the log."""
    for _ in range(0, size, 8 * MIB):
        writer.publish([1], range(writer.next_id, writer.next_id + 8), size=MIB)


def log_bytes(path: Path) -> int:
    return path.with_name(path.name + "-wal").stat().st_size


def test_a_short_log_is_left_alone(sqlite_place: SqlitePlace) -> None:
    store, writer = start(sqlite_place)
    write(writer, STEP_BYTES // 2)
    assert store.checkpointer.checkpoint_step() is None


def test_a_copied_log_is_used_again_instead_of_growing(sqlite_place: SqlitePlace) -> None:
    store, writer = start(sqlite_place)
    write(writer, STEP_BYTES)
    state = store.checkpointer.checkpoint_step()
    assert state is not None
    assert (state.log_bytes >= STEP_BYTES, state.rest_bytes) == (True, 0)
    first = log_bytes(sqlite_place.path)
    for _ in range(3):
        write(writer, STEP_BYTES)
        assert store.checkpointer.checkpoint_step() is not None
        assert store.checkpointer.checkpoint_step() is None
    assert log_bytes(sqlite_place.path) < first + 2 * MIB


def test_small_commits_are_copied_too_after_enough_of_them(sqlite_place: SqlitePlace) -> None:
    store, writer = start(sqlite_place)
    store.checkpointer.written = STEP_BYTES - 200_000
    for number in range(10, 20):
        writer.publish([1], [number])
    state = store.checkpointer.checkpoint_step()
    assert state is not None
    assert 0 < state.log_bytes < MIB


def test_a_reader_in_the_way_delays_the_copy_but_nothing_else(sqlite_place: SqlitePlace) -> None:
    store, writer = start(sqlite_place)
    write(writer, 8 * MIB)
    with closing(sqlite3.connect(sqlite_place.path, isolation_level=None)) as slow:
        slow.execute("BEGIN")
        slow.execute("SELECT count(*) FROM entry").fetchone()
        write(writer, STEP_BYTES)
        state = store.checkpointer.checkpoint_step()
        assert state is not None
        assert state.rest_bytes > REST_BYTES
        write(writer, 8 * MIB)
        assert store.checkpointer.checkpoint_step() is not None, "what is left is due again"
        assert len(positions(store.reader(), 1)) >= 48
    write(writer, 8 * MIB)
    state = store.checkpointer.checkpoint_step()
    assert state is not None
    assert state.rest_bytes == 0
    assert store.checkpointer.checkpoint_step() is None


def test_the_log_stays_bounded_while_commits_never_pause(
    sqlite_place: SqlitePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "REST_BYTES", 0)  # commits go on, so only the limit starts the log anew
    monkeypatch.setattr(checkpoint, "LOG_BYTES_MAX", 8 * MIB)
    store, writer = start(sqlite_place)
    store.checkpointer.step_bytes = 2 * MIB
    stop = threading.Event()
    begun = 0  # batches of 8 MiB
    steps = [(0, 0)]  # batches begun before each step and after it

    def step() -> None:
        while not stop.wait(0.005):
            before = begun
            store.checkpointer.checkpoint_step()
            steps.append((before, begun))

    thread = threading.Thread(target=step)
    thread.start()
    try:
        for _ in range(20):
            begun += 1
            write(writer, 8 * MIB)
            writer.settle(1, writer.next_id - 8, writer.next_id - 1)
    finally:
        stop.set()
        thread.join()
    steps.append((begun, begun))
    # 160 MiB were written. Beyond the limit comes only what is committed from when one step begins until the next ends,
    # which is the machine's affair, and the batch that was under way.
    beside = max(after - before for (before, _), (_, after) in pairwise(steps))
    assert log_bytes(sqlite_place.path) < checkpoint.LOG_BYTES_MAX + (beside + 1) * 9 * MIB
    assert positions(store.reader(), 1) == []


def test_an_error_leaves_the_checkpointer_usable(sqlite_place: SqlitePlace) -> None:
    store, writer = start(sqlite_place)
    write(writer, STEP_BYTES)
    store.checkpointer.close()
    store.checkpointer.close()
    assert store.checkpointer.checkpoint_step() is not None

"""What is particular to the SQLite store: files, settings, failing disks, and what is not read."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from amqpd.broker.batch import Chunk
from amqpd.store.chunks import CHUNK_SINCE, CHUNKS, LAST_CHUNK, PLACE
from amqpd.store.contract import StoreCorrupt, StoreFull, StoreUnavailable, StoreUncertain
from amqpd.store.reader import DUE, LOAD, NEXT_DUE, SUMMARY
from amqpd.store.schema import PAGE_SIZE
from amqpd.store.sqlite import COMMIT_SLICE, SqliteStore
from amqpd.store.tables import COUNT, SWEEP_CHUNKS, repeated
from tests.store.batches import EVERYTHING, Writer, add, add_expiring, body, drop_queue, message, positions, queue
from tests.store.conftest import SqlitePlace

# Processes that a test starts import what the test imports.
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
NAMESPACE = ("unshare", "--map-root-user", "--mount")


def connection_of(store: object) -> sqlite3.Connection:
    assert isinstance(store, SqliteStore)
    assert store._connection is not None
    return store._connection


def test_a_clean_stop_leaves_one_file_beside_the_lock(sqlite_place: SqlitePlace) -> None:
    writer, _, _ = sqlite_place.start()
    writer.publish([1], [10])
    writer.publish([1], [11], paged=True)
    sqlite_place.stop(release=True)
    assert sorted(path.name for path in sqlite_place.path.parent.iterdir()) == ["amqpd.db", "amqpd.db.lock"]


def test_the_file_has_the_settings_the_promises_need(sqlite_place: SqlitePlace) -> None:
    writer, _, _ = sqlite_place.start()
    settings = {
        name: connection_of(writer.store).execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "page_size", "wal_autocheckpoint")
    }
    assert settings == {
        "journal_mode": "wal",
        "synchronous": 2,
        "page_size": PAGE_SIZE,
        "wal_autocheckpoint": 0,
    }


def test_people_can_read_what_is_in_a_queue(sqlite_place: SqlitePlace) -> None:
    writer, _, _ = sqlite_place.start()
    writer.define(queue(1, "orders"))
    writer.publish([1], range(10, 3010))
    writer.purge(1, 10, 3007)
    with closing(sqlite3.connect(sqlite_place.path)) as shell:
        assert shell.execute("SELECT * FROM queue_contents").fetchall() == [
            ("/", "orders", 0, number, "exchange", f"key-{number}", None, 0, 10, body(number))
            for number in (3008, 3009)
        ]


def test_people_see_priorities_deadlines_and_deliveries(sqlite_place: SqlitePlace) -> None:
    writer, _, _ = sqlite_place.start()
    batch = writer.new()
    batch.definitions = [queue(1, "urgent", levels=3), queue(4, "next")]
    batch.messages = [message(10), message(12)]
    batch.entries = [(3, 10, 0), (4, 12, 0)]
    add_expiring(batch, 2, {11: 1_700_000_000_000})
    batch.counted = [(3, 10, 2, 5)]
    writer.commit(batch)
    with closing(sqlite3.connect(sqlite_place.path)) as shell:
        rows = shell.execute("SELECT queue, priority, position, deadline, deliveries FROM queue_contents").fetchall()
    assert rows == [("urgent", 1, 11, 1_700_000_000_000, 0), ("urgent", 2, 10, None, 2), ("next", 0, 12, None, 0)]


def test_people_see_the_offsets_of_a_stream(sqlite_place: SqlitePlace) -> None:
    writer, _, _ = sqlite_place.start()
    batch = writer.new()
    batch.definitions = [queue(1, "orders"), queue(2, "log"), queue(3, "events")]
    batch.chunks = [(2, 7, 10, 100, 0), (2, 9, 13, 200, 20), (3, 0, 12, 300, 0)]
    add(batch, [1], [9, 11])
    add(batch, [2], [10, 11, 13])
    add(batch, [3], [12])
    batch.messages.sort()
    batch.messages = [row for number, row in enumerate(batch.messages) if row not in batch.messages[:number]]
    writer.commit(batch)
    with closing(sqlite3.connect(sqlite_place.path)) as shell:
        assert shell.execute("SELECT * FROM stream_contents WHERE stream = 'log'").fetchall() == [
            ("/", "log", offset, "exchange", f"key-{number}", 10, body(number), time)
            for offset, number, time in ((7, 10, 100), (8, 11, 100), (9, 13, 200))
        ]
    batch = writer.new()
    batch.purged, batch.truncated = [(2, 0, 12)], [(2, 9)]
    writer.commit(batch)
    with closing(sqlite3.connect(sqlite_place.path)) as shell:
        rows = shell.execute('SELECT stream, "offset", time FROM stream_contents').fetchall()
    assert sorted(rows) == [("events", 0, 300), ("log", 9, 200)]


# Two brokers


def test_a_second_process_is_refused_with_the_directory_and_the_holder(sqlite_place: SqlitePlace) -> None:
    sqlite_place.start()
    program = (
        "import pathlib, sys\n"
        "from amqpd.store.sqlite import SqliteStore\n"
        "SqliteStore(pathlib.Path(sys.argv[1])).open('main', 'second')\n"
    )
    second = subprocess.run(
        [sys.executable, "-c", program, str(sqlite_place.path)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert second.returncode == 1
    assert second.stderr.splitlines()[-1] == (
        f"amqpd.store.contract.StoreUnavailable: the data directory {sqlite_place.path.parent}"
        f" is in use by another broker (process {os.getpid()})"
    )


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    writer = start_writing(tmp_path / "amqpd.db")
    assert writer.stdout is not None
    writer.stdout.readline()
    kill(writer)
    place = SqlitePlace(tmp_path)
    _, _, opened = place.start()
    assert opened.epoch == 2
    place.stop()


# Killed


def start_writing(path: Path) -> subprocess.Popen[str]:
    """A process that commits batch after batch, each with its number as the one message, and prints the
    number.
    """
    program = (
        "import pathlib, sys\n"
        "from amqpd.broker.batch import Batch\n"
        "from amqpd.store.sqlite import SqliteStore\n"
        "store = SqliteStore(pathlib.Path(sys.argv[1]))\n"
        "number = store.open('main', 'writer').last_batch\n"
        "while True:\n"
        "    number += 1\n"
        "    batch = Batch(number)\n"
        "    batch.next_id = number + 1\n"
        "    batch.messages = [(number, '', 'key', b'', b'x' * 3000)]\n"
        "    batch.entries = [(1, number, 0)]\n"
        "    batch.chunks = [(1, number - 1, number, 0, 0)]\n"
        "    store.commit(batch)\n"
        "    print(number, flush=True)\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, str(path)], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )


def kill(process: subprocess.Popen[str]) -> list[int]:
    """Kill it; returns the numbers it had still printed."""
    os.kill(process.pid, signal.SIGKILL)
    output, _ = process.communicate()
    return [int(line) for line in output.splitlines() if line]


def test_what_was_committed_survives_being_killed_again_and_again(tmp_path: Path) -> None:
    path = tmp_path / "amqpd.db"
    last = 0
    for lines in (1, 7, 30, 90):
        process = start_writing(path)
        assert process.stdout is not None
        for _ in range(lines):
            last = int(process.stdout.readline())
        last = max([last, *kill(process)])
        place = SqlitePlace(tmp_path)
        _, reader, opened = place.start()
        # One more may have been committed than the process lived to tell.
        assert opened.last_batch in (last, last + 1)
        assert not opened.clean
        assert opened.next_message_id == opened.last_batch + 1
        assert positions(reader, 1) == list(range(1, opened.last_batch + 1))
        assert reader.chunks(1, -1, 1 << 30) == [Chunk(at, at + 1, 0, 0) for at in range(opened.last_batch)]
        last = opened.last_batch
        place.stop(release=False)


# Failing


def test_a_full_disk_writes_nothing_and_the_batch_can_be_committed_later(sqlite_place: SqlitePlace) -> None:
    writer, reader, _ = sqlite_place.start()
    writer.define(queue(1))
    connection = connection_of(writer.store)
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    batch = writer.new()
    add(batch, [1], list(range(10, 200)), size=1000)
    for _ in range(2):
        with pytest.raises(StoreFull):
            writer.commit(batch)
    assert positions(reader, 1) == []
    connection.execute("PRAGMA max_page_count = 1000000")
    writer.commit(batch)
    assert positions(reader, 1) == list(range(10, 200))


def test_a_file_system_without_room_is_full_until_there_is_room(tmp_path: Path) -> None:
    """On a tmpfs of 2 MiB in a mount namespace of its own."""
    program = (
        "import os, pathlib, sys\n"
        "from amqpd.store.contract import StoreFull\n"
        "from amqpd.store.sqlite import SqliteStore\n"
        "from tests.store.batches import Writer, add, positions\n"
        "directory = pathlib.Path(sys.argv[1])\n"
        "(directory / 'ballast').write_bytes(bytes(1 << 20))\n"
        "store = SqliteStore(directory / 'amqpd.db')\n"
        "writer = Writer(store, store.open('main', 'test'))\n"
        "full = 0\n"
        "while not full:\n"
        "    batch = writer.new()\n"
        "    first = batch.next_id\n"
        "    add(batch, [1], list(range(first, first + 20)), size=1000)\n"
        "    try:\n"
        "        writer.commit(batch)\n"
        "    except StoreFull:\n"
        "        full = first\n"
        "reader = store.reader()\n"
        "assert positions(reader, 1) == list(range(1, full)), 'what was committed, and nothing else'\n"
        "(directory / 'ballast').unlink()\n"
        "writer.commit(batch)\n"
        "assert positions(reader, 1) == list(range(1, full + 20))\n"
        "reader.close()\n"
        "store.close(True)\n"
        "print('room again')\n"
    )
    command = 'mount -t tmpfs -o size=2m none "$0" && exec "$1" -c "$2" "$0"'
    done = subprocess.run(
        [
            "unshare",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            command,
            str(tmp_path),
            sys.executable,
            program,
        ],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no mount namespaces here: {done.stderr.strip()}")
    assert done.stdout == "room again\n", done.stderr


def test_a_file_that_may_not_grow_is_an_error_of_the_environment(tmp_path: Path) -> None:
    """RLIMIT_FSIZE fails writes with EFBIG, which is no lack of room but an IO error."""
    program = (
        "import pathlib, resource, sys\n"
        "from amqpd.store.contract import StoreError\n"
        "from amqpd.store.sqlite import SqliteStore\n"
        "from tests.store.batches import Writer, positions\n"
        "store = SqliteStore(pathlib.Path(sys.argv[1]))\n"
        "writer = Writer(store, store.open('main', 'test'))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, resource.RLIM_INFINITY))\n"
        "batch = None\n"
        "while True:\n"
        "    writer_number, first = writer.number, writer.next_id\n"
        "    try:\n"
        "        writer.publish([1], range(first, first + 20), size=1000)\n"
        "    except StoreError as error:\n"
        "        print(type(error).__name__)\n"
        "        break\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "assert store.resume() == writer.number\n"
        "writer.next_id = first\n"
        "writer.publish([1], range(first, first + 20), size=1000)\n"
        "reader = store.reader()\n"
        "assert positions(reader, 1) == list(range(1, first + 20))\n"
        "reader.close()\n"
        "store.close(True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "amqpd.db")],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("StoreUncertain\n", "")


def test_a_shell_that_holds_the_write_lock_makes_the_store_unavailable(sqlite_place: SqlitePlace) -> None:
    writer, reader, _ = sqlite_place.start()
    connection_of(writer.store).execute("PRAGMA busy_timeout = 0")
    with closing(sqlite3.connect(sqlite_place.path, isolation_level=None)) as shell:
        shell.execute("BEGIN IMMEDIATE")
        batch = writer.new()
        add(batch, [1], [10])
        with pytest.raises(StoreUnavailable):
            writer.commit(batch)
        shell.execute("ROLLBACK")
    assert writer.store.resume() == 0
    writer.commit(batch)
    assert positions(reader, 1) == [10]


def test_after_an_uncertain_commit_nothing_is_written_before_resume(
    sqlite_place: SqlitePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, _, _ = sqlite_place.start()
    store = writer.store
    assert isinstance(store, SqliteStore)
    real = connection_of(store)

    class FailsToCommit:
        """A connection whose COMMIT reports an IO error after it was done."""

        in_transaction = False

        def execute(self, statement: str, values: object = ()) -> sqlite3.Cursor:
            done = real.execute(statement, values)  # type: ignore[arg-type]
            if statement == "COMMIT":
                error = sqlite3.OperationalError("disk I/O error")
                error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
                error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
                raise error
            return done

        def close(self) -> None:
            real.close()

    batch = writer.new()
    add(batch, [1], [10])
    store._connection = FailsToCommit()  # type: ignore[assignment]
    with pytest.raises(StoreUncertain):
        store.commit(batch)
    with pytest.raises(StoreUnavailable):
        store.commit(batch)
    assert store.resume() == 1
    store.commit(batch)
    assert positions(store.reader(), 1) == [10]


def test_resume_fails_and_commits_are_refused_while_the_file_is_away(sqlite_place: SqlitePlace) -> None:
    writer, _, _ = sqlite_place.start()
    writer.publish([1], [10])
    away = sqlite_place.path.parent.with_name("away")
    sqlite_place.path.parent.rename(away)
    batch = writer.new()
    add(batch, [1], [11])
    with pytest.raises(StoreUnavailable):
        writer.store.resume()
    with pytest.raises(StoreUnavailable):
        writer.commit(batch)
    away.rename(sqlite_place.path.parent)
    assert writer.store.resume() == 1
    writer.commit(batch)
    assert positions(writer.store.reader(), 1) == [10, 11]


def test_a_directory_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="No such file or directory"):
        SqliteStore(tmp_path / "missing" / "amqpd.db").open("main", "test")


def test_a_damaged_page_is_corruption(sqlite_place: SqlitePlace) -> None:
    writer, _, _ = sqlite_place.start()
    writer.publish([1], range(10, 1000), size=1000)
    sqlite_place.stop(release=True)
    with sqlite_place.path.open("r+b") as file:
        file.seek(PAGE_SIZE)
        file.write(b"\xff" * (sqlite_place.path.stat().st_size - PAGE_SIZE))
    with pytest.raises(StoreCorrupt):
        SqliteStore(sqlite_place.path).open("main", "test")


def test_marks_that_cannot_be_are_corruption(sqlite_place: SqlitePlace) -> None:
    sqlite_place.start()
    sqlite_place.stop()
    sqlite_place.execute("UPDATE meta SET next_id = 0")
    with pytest.raises(StoreCorrupt, match="impossible marks"):
        SqliteStore(sqlite_place.path).open("main", "test")


# What is not done


def test_a_start_does_not_read_messages(sqlite_place: SqlitePlace) -> None:
    writer, reader, _ = sqlite_place.start()
    writer.define(queue(1))
    writer.publish([1], range(10, 2000))
    # Whoever looks for the messages now finds no table of that name.
    sqlite_place.execute("ALTER TABLE message RENAME TO hidden")
    summary = reader.summary()
    assert (summary.queues[0].first, summary.queues[0].last) == (10, 1999)
    with pytest.raises(StoreCorrupt):
        reader.load(1, 0, 1, EVERYTHING)


def test_the_ends_of_a_queue_are_found_by_seeking(sqlite_place: SqlitePlace) -> None:
    sqlite_place.start()
    plan = [str(row[3]) for row in sqlite_place.execute("EXPLAIN QUERY PLAN " + SUMMARY)]
    assert plan.count("SEARCH entry USING PRIMARY KEY (queue=?)") == 2
    assert not [line for line in plan if "SCAN entry" in line]


def test_a_page_is_a_range_of_entries_joined_by_message_id(sqlite_place: SqlitePlace) -> None:
    sqlite_place.start()
    statement = LOAD.replace("?", "1")
    plan = [str(row[3]) for row in sqlite_place.execute("EXPLAIN QUERY PLAN " + statement)]
    assert plan == [
        "SEARCH e USING PRIMARY KEY (queue=? AND position>? AND position<?)",
        "SEARCH m USING INTEGER PRIMARY KEY (rowid=?) LEFT-JOIN",
    ]


def plan_of(place: SqlitePlace, statement: str) -> list[str]:
    return [str(row[3]) for row in place.execute("EXPLAIN QUERY PLAN " + statement.replace("?", "1"))]


def test_what_is_due_is_found_by_the_index_and_comes_sorted_from_it(sqlite_place: SqlitePlace) -> None:
    sqlite_place.start()
    for statement, seek in ((DUE, "deadline<?"), (NEXT_DUE, "(deadline,position)>(?,?)")):
        plan = plan_of(sqlite_place, statement)
        assert plan[0] == f"SEARCH e USING INDEX entry_early (queue=? AND {seek})"
        assert not [line for line in plan if "TEMP B-TREE" in line]


def test_entries_without_a_deadline_are_in_no_index(sqlite_place: SqlitePlace) -> None:
    writer, _, _ = sqlite_place.start()
    batch = writer.new()
    add(batch, [1], list(range(10, 300)))
    add_expiring(batch, 1, {300: 1000}, early=False)
    add_expiring(batch, 1, {301: 500})
    writer.commit(batch)
    assert sqlite_place.execute("SELECT count(*) FROM entry") == [(292,)]
    indexed = "SELECT position FROM entry INDEXED BY entry_early WHERE flags & 4"
    assert sqlite_place.execute(indexed) == [(301,)]


@pytest.mark.parametrize("count", [1, 2, 512])
def test_a_count_is_written_by_seeking_its_entry(sqlite_place: SqlitePlace, count: int) -> None:
    sqlite_place.start()
    plan = plan_of(sqlite_place, repeated(*COUNT[:2], count, COUNT[2]))
    assert plan[-1] == "SEARCH entry USING PRIMARY KEY (queue=? AND position=?)"


def test_the_contents_of_one_queue_are_read_without_those_of_others(sqlite_place: SqlitePlace) -> None:
    sqlite_place.start()
    plan = plan_of(sqlite_place, "SELECT * FROM queue_contents WHERE queue = 'orders'")
    assert plan[:2] == ["SCAN queue", "SEARCH entry USING PRIMARY KEY (queue>? AND queue<?)"]


def test_chunks_are_found_by_seeking_and_come_sorted(sqlite_place: SqlitePlace) -> None:
    sqlite_place.start()
    for statement, seek in (
        (CHUNKS, "PRIMARY KEY (queue=? AND offset>?)"),
        (LAST_CHUNK, "PRIMARY KEY (queue=?)"),
        (CHUNK_SINCE, "INDEX chunk_time (queue=? AND time>?)"),
    ):
        plan = plan_of(sqlite_place, statement)
        assert plan[0] == f"SEARCH chunk USING {seek}"
        assert not [line for line in plan if "TEMP B-TREE" in line]


def test_the_place_of_an_offset_is_found_among_the_entries_of_one_chunk(sqlite_place: SqlitePlace) -> None:
    sqlite_place.start()
    plan = plan_of(sqlite_place, PLACE)
    assert "SEARCH chunk USING PRIMARY KEY (queue=? AND offset<?)" in plan
    assert "SEARCH entry USING PRIMARY KEY (queue=? AND position>?)" in plan
    assert not [line for line in plan if "TEMP B-TREE" in line or "message" in line]


def test_chunks_are_swept_from_the_front_of_their_stream(sqlite_place: SqlitePlace) -> None:
    sqlite_place.start()
    assert plan_of(sqlite_place, SWEEP_CHUNKS) == [
        "SEARCH chunk USING PRIMARY KEY (queue=? AND offset<?)",
        "SCALAR SUBQUERY 1",
        "SEARCH chunk USING PRIMARY KEY (queue=?)",
    ]


def test_the_contents_of_one_stream_are_read_without_those_of_others(sqlite_place: SqlitePlace) -> None:
    writer, _, _ = sqlite_place.start()
    batch = writer.new()
    batch.definitions = [queue(1, "long"), queue(2, "short")]
    batch.chunks = [(1, 0, 1000, 100, 0), (2, 0, 5000, 100, 0)]
    add(batch, [1], list(range(1000, 5000)))
    add(batch, [2], [5000])
    writer.commit(batch)
    steps: list[int] = []
    with closing(sqlite3.connect(sqlite_place.path)) as shell:
        shell.set_progress_handler(lambda: steps.append(1), 100)  # each hundred of SQLite's own steps
        assert len(shell.execute("SELECT * FROM stream_contents WHERE stream = 'short'").fetchall()) == 1
        assert len(steps) < 40
        assert len(shell.execute("SELECT * FROM stream_contents WHERE stream = 'long'").fetchall()) == 4000
        assert len(steps) > 400


@pytest.mark.parametrize(("count", "size"), [(3 * COMMIT_SLICE[0], 10), (4, COMMIT_SLICE[1])])
def test_deleting_keeps_pace_with_a_stream_that_is_truncated(sqlite_place: SqlitePlace, count: int, size: int) -> None:
    """No idle moment: commits of more than a slice each, in number or in octets."""
    writer, _, _ = sqlite_place.start()
    writer.define(queue(1))
    for offset in range(6):
        first = 10_000 + offset * count
        batch = writer.new()
        add(batch, [1], list(range(first, first + count)), size)
        batch.chunks = [(1, offset, first, 0, 0)]
        batch.purged, batch.truncated = [(1, 0, first - 1)], [(1, offset)]
        writer.commit(batch)
        assert len(sqlite_place.stored_messages()) <= 2 * count


def test_many_streams_that_are_truncated_all_the_time_do_not_grow(sqlite_place: SqlitePlace) -> None:
    """Each commit puts a message into each of them and lets go of one; a commit deletes from a few streams only."""
    streams, kept = range(1, 101), 3
    writer, _, _ = sqlite_place.start()
    batch = writer.new()
    batch.definitions = [queue(stream) for stream in streams]
    writer.commit(batch)
    sizes = []
    for commit in range(60):
        batch = writer.new()
        for stream in streams:
            position = 10_000 + 100 * commit + stream
            add(batch, [stream], [position])
            batch.chunks.append((stream, commit, position, 0, 0))
            if commit >= kept:
                batch.purged.append((stream, 0, position - 100 * kept))
                batch.truncated.append((stream, commit - kept + 1))
        writer.commit(batch)
        (trashed,) = sqlite_place.execute("SELECT count(*) FROM trash")
        assert trashed[0] <= len(streams)
        sizes.append(len(sqlite_place.stored_messages()))
    assert max(sizes[40:]) <= max(sizes[20:40])


def test_chunks_of_a_dropped_stream_are_deleted_little_by_little(sqlite_place: SqlitePlace) -> None:
    writer, reader, _ = sqlite_place.start()
    batch = writer.new()
    batch.definitions = [queue(1), queue(2)]
    batch.chunks = [(1, number, number, 0, 0) for number in range(10_000, 15_000)] + [(2, 0, 15_000, 0, 0)]
    add(batch, [1], list(range(10_000, 15_000)))
    add(batch, [2], [15_000])
    writer.commit(batch)
    writer.define(drop_queue(1))
    left = 5001
    for commit in range(5):
        (now,) = sqlite_place.execute("SELECT count(*) FROM chunk")
        assert 0 < left - now[0] <= COMMIT_SLICE[0]
        left = now[0]
        assert reader.last_chunk(1) is None
        writer.define(queue(20_000 + commit))
    assert sqlite_place.execute("SELECT queue FROM chunk") == [(2,)]
    assert reader.last_chunk(2) == Chunk(0, 15_000, 0, 0)


def test_who_has_no_stream_pays_for_none(sqlite_place: SqlitePlace) -> None:
    writer, _, _ = sqlite_place.start()
    statements: list[str] = []
    connection_of(writer.store).set_trace_callback(statements.append)
    writer.publish([1], range(10, 300))
    writer.settle(1, 10, 200)
    assert len([one for one in statements if "entry" in one]) == 2
    assert not [one for one in statements if "chunk" in one]
    batch = writer.new()
    batch.chunks = [(1, 0, 300, 0, 0)]
    add(batch, [1], [300])
    writer.commit(batch)
    assert len([one for one in statements if "chunk" in one]) == 1


def test_a_big_purge_is_spread_over_many_commits(sqlite_place: SqlitePlace) -> None:
    writer, _, _ = sqlite_place.start()
    for first in range(10_000, 20_000, 1000):
        writer.publish([1], range(first, first + 1000))
    left = len(sqlite_place.stored_messages())
    writer.purge(1, 10_000, 19_999)
    commits = 1
    while True:
        now = len(sqlite_place.stored_messages())
        assert left - now <= COMMIT_SLICE[0]
        left = now
        if not left:
            break
        writer.define(queue(commits))
        commits += 1
    assert commits == 10


def test_big_bodies_are_purged_few_at_a_time(sqlite_place: SqlitePlace) -> None:
    writer, _, _ = sqlite_place.start()
    writer.publish([1], range(10, 22), size=1 << 20)
    writer.purge(1, 10, 21)
    assert len(sqlite_place.stored_messages()) == 7  # the one that exceeds 4 MiB is the last to go
    writer.define(queue(1))
    assert len(sqlite_place.stored_messages()) == 2


def test_a_commit_that_fails_does_not_forget_the_trash(sqlite_place: SqlitePlace) -> None:
    writer, _, _ = sqlite_place.start()
    for first in range(10_000, 12_000, 1000):
        writer.publish([1], range(first, first + 1000))
    writer.purge(1, 10_000, 11_999)
    connection = connection_of(writer.store)
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreFull):
        writer.publish([1], range(20_000, 24_000), size=2000)
    while writer.store.tidy():
        pass
    assert sqlite_place.stored_messages() == set()


def test_transient_messages_cost_the_main_file_only_the_mark(sqlite_place: SqlitePlace) -> None:
    writer, reader, _ = sqlite_place.start()
    writer.publish([1], range(10, 500), paged=True)
    assert sqlite_place.execute("SELECT count(*) FROM message") == [(0,)]
    assert len(positions(reader, 1)) == 490
    paged = writer.store._paged._connection  # type: ignore[attr-defined]
    assert paged.execute("PRAGMA synchronous").fetchone() == (0,)


def test_transient_messages_of_a_crashed_broker_are_taken_away(sqlite_place: SqlitePlace) -> None:
    writer, _, _ = sqlite_place.start()
    writer.publish([1], [10], paged=True)
    sqlite_place.stop(release=False)
    paged = sqlite_place.path.with_name("amqpd.db.paged")
    assert paged.exists()
    sqlite_place.start()
    assert not paged.exists()


def test_readers_work_from_other_threads_and_after_resume(sqlite_place: SqlitePlace) -> None:
    from concurrent.futures import ThreadPoolExecutor

    writer, reader, _ = sqlite_place.start()
    writer.publish([1], range(10, 30))
    with ThreadPoolExecutor(4) as pool:
        pages = list(pool.map(lambda _: positions(reader, 1), range(20)))
    assert pages == [list(range(10, 30))] * 20
    writer.store.resume()
    writer.publish([1], [30])
    assert positions(reader, 1)[-1] == 30


def test_a_writer_starts_where_another_stopped(sqlite_place: SqlitePlace) -> None:
    store = SqliteStore(sqlite_place.path)
    writer = Writer(store, store.open("main", "one"))
    writer.publish([1], [10])
    store.close(release=False)
    writer, reader, opened = sqlite_place.start()
    assert opened.last_batch == 1
    writer.publish([1], [11])
    assert positions(reader, 1) == [10, 11]


def test_a_log_that_a_killed_broker_left_behind_is_copied_back(sqlite_place: SqlitePlace, tmp_path: Path) -> None:
    """Each may write less than a step before it is killed: the log must not grow from crash to crash."""
    writer, _, _ = sqlite_place.start()
    writer.publish([1], range(10, 30), size=100_000)
    left = tmp_path / "left"
    left.mkdir()
    for name in ("amqpd.db", "amqpd.db-wal"):
        shutil.copy(sqlite_place.path.with_name(name), left / name)
    store = SqliteStore(left / "amqpd.db")
    store.checkpointer.step_bytes = 1_000_000
    store.open("main", "the next one")
    state = store.checkpointer.checkpoint_step()
    assert state is not None
    assert state.rest_bytes == 0
    store.close(release=True)

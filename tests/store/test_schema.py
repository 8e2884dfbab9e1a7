"""Files of other versions and other programs."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from amqpd.broker.batch import KINDS, Batch, Chunk, QueueSummary, StoredEntry
from amqpd.store import schema
from amqpd.store.contract import StoreCorrupt
from amqpd.store.sqlite import SqliteStore

# The schema that version 1 gave a new file. It never changes once files with it exist, and neither does what the
# first migration makes.
VERSION_1 = Path(__file__).with_name("schema_1.sql")
VERSION_2 = Path(__file__).with_name("schema_2.sql")
VERSION_3 = Path(__file__).with_name("schema_3.sql")
# The present one: when a test that compares with it fails because KINDS was changed, a migration is missing.
PRESENT = Path(__file__).with_name("schema_4.sql")


def schema_of(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return "".join(f"{statement};\n" for statement in connection.iterdump() if "INSERT" not in statement)


def make(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)


def make_old(path: Path, version: Path, rows: str = "") -> None:
    """A file as a broker of that version left it, with ``rows``."""
    make(path, version.read_text(encoding="utf-8"))
    number = int(version.stem.removeprefix("schema_"))
    make(path, f"PRAGMA application_id = {schema.APPLICATION_ID}; PRAGMA user_version = {number}; {rows}")


def refusal(path: Path) -> str:
    with pytest.raises(StoreCorrupt) as caught:
        SqliteStore(path).open("main", "test")
    return str(caught.value)


def test_a_file_of_version_1_opens_and_has_every_column(tmp_path: Path) -> None:
    path = tmp_path / "amqpd.db"
    make(path, VERSION_1.read_text(encoding="utf-8"))
    make(path, f"PRAGMA application_id = {schema.APPLICATION_ID}; PRAGMA user_version = 1;")
    store = SqliteStore(path)
    assert store.open("main", "test").epoch == 1
    store.close(release=True)
    with closing(sqlite3.connect(path)) as connection:
        for kind, row in KINDS.items():
            columns = [info[1] for info in connection.execute(f"PRAGMA table_info({kind})")]
            assert columns == [*row.key, *row.columns]


def test_the_first_migration_makes_what_it_always_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "amqpd.db"
    monkeypatch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:1])
    monkeypatch.setattr(schema, "SCHEMA_VERSION", 1)
    with closing(sqlite3.connect(path)) as connection:
        connection.isolation_level = None
        schema.prepare(connection, path)
    made = tmp_path / "made.db"
    make(made, VERSION_1.read_text(encoding="utf-8"))
    assert schema_of(path) == schema_of(made)


def test_messages_of_a_file_of_version_1_are_read(tmp_path: Path) -> None:
    path = tmp_path / "amqpd.db"
    make_old(
        path,
        VERSION_1,
        """
        INSERT INTO meta VALUES (1, 'main', 'test', 1, 7, 12, 1);
        INSERT INTO queue VALUES (5, '/', 'q', 0, 'classic', x'');
        INSERT INTO message VALUES (11, '', 'q', x'0000', x'6869');
        INSERT INTO entry VALUES (5, 11, 0);
        INSERT INTO queue_depth VALUES (5, 1, 2, 0);
        """,
    )
    store = SqliteStore(path)
    opened = store.open("main", "test")
    assert (opened.last_batch, opened.next_message_id) == (7, 12)
    reader = store.reader()
    assert reader.summary().queues == [QueueSummary(5, 1, 2, 11, 11, 0, 0)]
    assert reader.load(5, 0, 10, 1000) == [StoredEntry(11, 0, "", "q", b"\0\0", b"hi", 0, 0, 0)]
    reader.close()
    store.close(release=True)
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT queue, priority, position, deadline FROM queue_contents").fetchall()
        assert rows == [("q", 0, 11, None)]


def test_messages_of_a_file_of_version_2_are_read(tmp_path: Path) -> None:
    path = tmp_path / "amqpd.db"
    make_old(
        path,
        VERSION_2,
        """
        INSERT INTO meta VALUES (1, 'main', 'test', 1, 7, 12, 1);
        INSERT INTO queue VALUES (5, '/', 'q', 0, 'classic', x'', 1);
        INSERT INTO message VALUES (11, '', 'q', x'0000', x'6869');
        INSERT INTO entry VALUES (5, 11, 4, 500, 2, 3);
        INSERT INTO queue_depth VALUES (5, 1, 2, 0);
        """,
    )
    store = SqliteStore(path)
    store.open("main", "test")
    reader = store.reader()
    assert reader.upcoming(5, (0, 0), 10, 1000) == [StoredEntry(11, 4, "", "q", b"\0\0", b"hi", 500, 2, 3)]
    assert reader.notes(5, b"", 10) == []
    reader.close()
    store.close(release=True)


def test_a_file_of_version_3_opens_with_its_notes_and_has_room_for_streams(tmp_path: Path) -> None:
    path = tmp_path / "amqpd.db"
    make_old(
        path,
        VERSION_3,
        """
        INSERT INTO meta VALUES (1, 'main', 'test', 1, 7, 12, 1);
        INSERT INTO queue VALUES (5, '/', 'q', 0, 'classic', x'', 1);
        INSERT INTO message VALUES (11, '', 'q', x'0000', x'6869');
        INSERT INTO entry VALUES (5, 11, 4, 500, 2, 3, 'name');
        INSERT INTO queue_depth VALUES (5, 1, 2, 0);
        INSERT INTO note VALUES (5, x'6b', 900);
        """,
    )
    store = SqliteStore(path)
    opened = store.open("main", "test")
    batch = Batch(opened.last_batch + 1)
    batch.chunks = [(5, 0, 11, 100, 0)]
    store.commit(batch)
    reader = store.reader()
    assert reader.named(5, "name", 10) == [StoredEntry(11, 4, "", "q", b"\0\0", b"hi", 500, 2, 3)]
    assert reader.notes(5, b"", 10) == [(b"k", 900)]
    assert reader.last_chunk(5) == Chunk(0, 11, 100, 0)
    assert reader.place(5, 0) == 11
    reader.close()
    store.close(release=True)


@pytest.mark.parametrize("version", [VERSION_1, VERSION_2, VERSION_3])
def test_a_file_of_any_version_gets_the_tables_of_the_present_one(tmp_path: Path, version: Path) -> None:
    path = tmp_path / "amqpd.db"
    make_old(path, version)
    store = SqliteStore(path)
    store.open("main", "test")
    store.close(release=True)
    made = tmp_path / "made.db"
    make(made, PRESENT.read_text(encoding="utf-8"))
    assert schema_of(path) == schema_of(made)


def test_a_new_file_has_the_schema_of_the_last_version(tmp_path: Path) -> None:
    path = tmp_path / "amqpd.db"
    store = SqliteStore(path)
    store.open("main", "test")
    store.close(release=True)
    assert schema.SCHEMA_VERSION == 4
    made = tmp_path / "made.db"
    make(made, PRESENT.read_text(encoding="utf-8"))
    assert schema_of(path) == schema_of(made)


def test_a_file_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "amqpd.db"
    store = SqliteStore(path)
    store.open("main", "test")
    store.close(release=True)
    make(path, f"PRAGMA user_version = {schema.SCHEMA_VERSION + 1}")
    before = path.read_bytes()
    assert refusal(path) == (f"{path} was written by a newer amqpd (schema 5; this program knows schemas up to 4)")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "script",
    [
        "CREATE TABLE notes (text)",
        "PRAGMA user_version = 1",
        "PRAGMA application_id = 252006674; CREATE TABLE notes (text); PRAGMA user_version = 1",
    ],
)
def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path, script: str) -> None:
    path = tmp_path / "amqpd.db"
    make(path, script)
    before = path.read_bytes()
    assert refusal(path) == f"{path} is an SQLite file, but not an amqpd store"
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "amqpd.db"
    path.write_text("not a database\n" * 100, encoding="ascii")
    assert refusal(path) == f"{path}: file is not a database (SQLITE_NOTADB)"
    assert path.read_text(encoding="ascii") == "not a database\n" * 100


def test_an_empty_file_is_a_new_store(tmp_path: Path) -> None:
    path = tmp_path / "amqpd.db"
    path.touch()
    store = SqliteStore(path)
    assert store.open("main", "test").epoch == 1
    store.close(release=True)


def test_pending_migrations_happen_all_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "amqpd.db"
    store = SqliteStore(path)
    store.open("main", "test")
    store.close(release=True)

    def adds(database: object) -> None:
        database.conn.execute("ALTER TABLE user ADD COLUMN note TEXT")  # type: ignore[attr-defined]

    def fails(database: object) -> None:
        raise sqlite3.OperationalError("no")

    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, adds, fails))
    monkeypatch.setattr(schema, "SCHEMA_VERSION", 6)
    before = schema_of(path)
    with pytest.raises(Exception, match="no"):
        SqliteStore(path).open("main", "test")
    assert schema_of(path) == before
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS[:4], adds))
    monkeypatch.setattr(schema, "SCHEMA_VERSION", 5)
    store = SqliteStore(path)
    assert store.open("main", "test").epoch == 2
    store.close(release=True)
    assert "note TEXT" in schema_of(path)

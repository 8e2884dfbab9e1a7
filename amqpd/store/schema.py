"""The tables of a store file, and the steps from older files to this one.

1. ``user_version`` is the number of migrations a file has had; ``application_id`` says that the file is ours.
2. A migration, once released, is never changed. A change of ``KINDS`` is a new migration that alters the
   tables.
3. All pending migrations happen in one transaction, or none.
4. Bodies are appended in id order to a rowid table; entries are narrow and lie in queue order. Both stay
   readable: ``SELECT * FROM queue_contents`` answers "what is in this queue", ``stream_contents`` with offsets.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from amqpd.broker.batch import EARLY, KINDS, SHARED
from amqpd.store.connection import transaction
from amqpd.store.contract import StoreCorrupt

if TYPE_CHECKING:
    from sqlite_utils import Database

APPLICATION_ID: Final = 0x616D7164  # "amqd"
# Octets. Against 8 KiB, pages of 16 KiB cost a third more CPU at 100 messages a commit and a fifth more at
# one, and gain 3% at 1000 (1 KiB messages); pages of 4 KiB cost a fifth to a third more at 100 and 1000.
PAGE_SIZE: Final = 8192

# The bodies, the places in queues, and the ranges that are dropped but not yet deleted. The file for paged-
# out transient messages has the same three tables. The index holds the entries whose message another entry
# may refer to.
_MESSAGE_TABLES: Final = """
CREATE TABLE message (
    id INTEGER PRIMARY KEY,
    exchange TEXT NOT NULL,
    routing_key TEXT NOT NULL,
    properties BLOB NOT NULL,
    body BLOB NOT NULL
);
CREATE TABLE entry (
    queue INTEGER NOT NULL,
    position INTEGER NOT NULL,
    flags INTEGER NOT NULL,
    PRIMARY KEY (queue, position)
) WITHOUT ROWID;
CREATE INDEX entry_shared ON entry (position) WHERE flags & {shared_flag};
CREATE TABLE trash (
    queue INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL
);
"""

_BOOK_TABLES: Final = """
CREATE TABLE queue_depth (
    queue INTEGER PRIMARY KEY,
    messages INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    redelivered INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE meta (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    shard TEXT NOT NULL,
    owner TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    last_batch INTEGER NOT NULL,
    next_id INTEGER NOT NULL,
    clean INTEGER NOT NULL
);
CREATE VIEW queue_contents AS
SELECT queue.vhost, queue.name AS queue, entry.position, message.exchange, message.routing_key,
       length(message.body) AS size, message.body
FROM queue
JOIN entry ON entry.queue = queue.id
JOIN message ON message.id = entry.position
WHERE NOT EXISTS (
    SELECT 1 FROM trash WHERE trash.queue = entry.queue AND entry.position BETWEEN trash.first AND trash.last
);
"""

# What an entry may have besides its place. The index holds those that are not found by looking at the front.
_ENTRY_FEATURES: Final = """
ALTER TABLE entry ADD COLUMN deadline INTEGER;
ALTER TABLE entry ADD COLUMN deliveries INTEGER NOT NULL DEFAULT 0;
ALTER TABLE entry ADD COLUMN acquired INTEGER NOT NULL DEFAULT 0;
CREATE INDEX entry_early ON entry (queue, deadline) WHERE flags & {early};
"""

# ``deadline`` in milliseconds since 1970. The lanes of a queue are a block of keys that begins with its own.
# CROSS JOIN keeps SQLite from going through all entries when one queue is asked for by its name.
_QUEUE_FEATURES: Final = """
ALTER TABLE queue ADD COLUMN levels INTEGER DEFAULT 1;
DROP VIEW queue_contents;
CREATE VIEW queue_contents AS
SELECT queue.vhost, queue.name AS queue, entry.queue - queue.id AS priority, entry.position, message.exchange,
       message.routing_key, entry.deadline, entry.deliveries, length(message.body) AS size, message.body
FROM queue
CROSS JOIN entry ON entry.queue BETWEEN queue.id AND queue.id + queue.levels - 1
JOIN message ON message.id = entry.position
WHERE NOT EXISTS (
    SELECT 1 FROM trash WHERE trash.queue = entry.queue AND entry.position BETWEEN trash.first AND trash.last
);
"""

# Messages that wait for their time are found by it and by their message-id; notes are what plugins keep for a while.
_ENTRY_NAMES: Final = """
ALTER TABLE entry ADD COLUMN name TEXT;
CREATE INDEX entry_name ON entry (queue, name) WHERE name IS NOT NULL;
"""
_NOTES: Final = """
CREATE TABLE note (
    space INTEGER NOT NULL,
    key BLOB NOT NULL,
    expires INTEGER NOT NULL,
    PRIMARY KEY (space, key)
) WITHOUT ROWID;
CREATE INDEX note_expires ON note (space, expires);
"""

# A chunk gives one entry of a stream its offset; those behind it count on, in order of position, up to the next chunk.
# ``time`` in milliseconds since 1970. The partition begins with what a stream is asked for by, or SQLite would number
# the entries of all streams first; bodies are joined behind the numbering, which sorts.
_STREAMS: Final = """
CREATE TABLE chunk (
    queue INTEGER NOT NULL,
    "offset" INTEGER NOT NULL,
    position INTEGER NOT NULL,
    time INTEGER NOT NULL,
    before INTEGER NOT NULL,
    PRIMARY KEY (queue, "offset")
) WITHOUT ROWID;
CREATE INDEX chunk_time ON chunk (queue, time);
CREATE VIEW stream_contents AS
SELECT numbered.vhost, numbered.stream, numbered."offset", message.exchange, message.routing_key,
       length(message.body) AS size, message.body, numbered.time
FROM (
    SELECT queue.vhost, queue.name AS stream, chunk.time, entry.position,
           chunk."offset" - 1 + row_number() OVER in_chunk AS "offset"
    FROM queue
    CROSS JOIN chunk ON chunk.queue = queue.id
    CROSS JOIN entry ON entry.queue = chunk.queue AND entry.position >= chunk.position AND entry.position < coalesce(
        (SELECT next.position FROM chunk AS next WHERE next.queue = chunk.queue AND next."offset" > chunk."offset"
         ORDER BY next."offset" LIMIT 1),
        9223372036854775807
    )
    WINDOW in_chunk AS (PARTITION BY queue.vhost, queue.name, chunk."offset" ORDER BY entry.position)
) AS numbered
CROSS JOIN message ON message.id = numbered.position;
"""

# The kinds of definitions in schema 1, and which came with which migration.
_FIRST_KINDS: Final = (
    "vhost",
    "vhost_limit",
    "user",
    "user_limit",
    "permission",
    "topic_permission",
    "exchange",
    "queue",
    "binding",
)
_POLICY_KINDS: Final = ("policy", "operator_policy", "parameter", "global_parameter")
_LATER_COLUMNS: Final = {("queue", "levels")}


def _first_tables(database: Database) -> None:
    _create_kinds(database, _FIRST_KINDS)
    _run_script(database.conn, _MESSAGE_TABLES.format(shared_flag=SHARED))
    _run_script(database.conn, _BOOK_TABLES)


def _queue_features(database: Database) -> None:
    """Deadlines, counts, priorities, policies."""
    _run_script(database.conn, _ENTRY_FEATURES.format(early=EARLY))
    _run_script(database.conn, _QUEUE_FEATURES)
    _create_kinds(database, _POLICY_KINDS)


def _names_and_notes(database: Database) -> None:
    """What delayed messages and windows of keys need."""
    _run_script(database.conn, _ENTRY_NAMES)
    _run_script(database.conn, _NOTES)


def _streams(database: Database) -> None:
    """Where the offsets of streams lie."""
    _run_script(database.conn, _STREAMS)


def _create_kinds(database: Database, names: Sequence[str]) -> None:
    for name in names:
        kind = KINDS[name]
        keys = list(kind.key)
        columns = {column: type_ for column, type_ in kind.columns.items() if (name, column) not in _LATER_COLUMNS}
        database.table(name).create({**kind.key, **columns}, pk=keys[0] if len(keys) == 1 else keys, not_null=set(keys))


MIGRATIONS: Final[tuple[Callable[[Database], None], ...]] = (
    _first_tables,
    _queue_features,
    _names_and_notes,
    _streams,
)
SCHEMA_VERSION: Final = len(MIGRATIONS)


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make the file ours and its schema this program's. In autocommit mode; raises StoreCorrupt,
    sqlite3.Error.
    """
    version = _version(connection, path)
    if version > SCHEMA_VERSION:
        raise StoreCorrupt(
            f"{path} was written by a newer amqpd (schema {version}; this program knows schemas up to {SCHEMA_VERSION})"
        )
    if version == 0:
        connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
    configure(connection)
    if version < SCHEMA_VERSION:
        _migrate(connection, version)


def configure(connection: sqlite3.Connection, synchronous: str = "FULL", autocheckpoint: int = 0) -> None:
    """The settings of every connection that writes. ``autocheckpoint``: pages of log, 0 for never in a
    commit.
    """
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {autocheckpoint}")
    # Debian's SQLite overwrites what is deleted with zeroes by default, which costs a third of a delete.
    connection.execute("PRAGMA secure_delete = OFF")
    connection.execute("PRAGMA cache_size = -16384")  # KiB: a batch must not spill before its commit


def _run_script(connection: sqlite3.Connection, script: str) -> None:
    """Run statements one by one: ``executescript`` would commit first."""
    for statement in script.split(";"):
        if statement.strip():
            connection.execute(statement)


def create_message_tables(connection: sqlite3.Connection, shared_flag: int) -> None:
    """Those of the present schema."""
    _run_script(connection, _MESSAGE_TABLES.format(shared_flag=shared_flag))
    _run_script(connection, _ENTRY_FEATURES.format(early=EARLY))
    _run_script(connection, _ENTRY_NAMES)


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """The file's schema version, 0 for a new file. Reads only."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application == APPLICATION_ID and version > 0:
        return int(version)
    if application or version or tables:
        raise StoreCorrupt(f"{path} is an SQLite file, but not an amqpd store")
    return 0


def _migrate(connection: sqlite3.Connection, version: int) -> None:
    # Importing sqlite-utils takes a fifth of a second; a start with an up-to-date file does not need it.
    from sqlite_utils import Database

    database = Database(connection)
    with transaction(connection):
        for migration in MIGRATIONS[version:]:
            migration(database)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

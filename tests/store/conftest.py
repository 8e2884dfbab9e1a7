"""The stores the conformance suite runs against, and what a test may do to each from outside."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from amqpd.store.contract import Opened, Store, StoreReader
from amqpd.store.memory import MemoryDisk, MemoryStore
from amqpd.store.sqlite import SqliteStore
from tests.store.batches import Writer
from tests.support.faulty_store import FaultyStore


class Place:
    """Where a store keeps its content. ``start`` opens a store there, as a broker's start does."""

    def __init__(self) -> None:
        self.stores: list[Store] = []
        self.readers: list[StoreReader] = []

    def make(self) -> Store:
        raise NotImplementedError

    def seize(self) -> None:
        """Another owner takes the content over, lock or no lock."""
        raise NotImplementedError

    def stored_messages(self) -> set[int]:
        """Ids of all messages on disk, whether an entry refers to them or not."""
        raise NotImplementedError

    def start(self, shard: str = "main") -> tuple[Writer, StoreReader, Opened]:
        store = self.make()
        opened = store.open(shard, "test")
        self.stores.append(store)
        self.readers.append(store.reader())
        return Writer(store, opened), self.readers[-1], opened

    def stop(self, release: bool = True) -> None:
        """Close what was started; without ``release`` much as a crash does."""
        while self.readers:
            self.readers.pop().close()
        while self.stores:
            self.stores.pop().close(release)


class SqlitePlace(Place):
    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.path = directory / "amqpd.db"

    def make(self) -> Store:
        return SqliteStore(self.path)

    def seize(self) -> None:
        self.execute("UPDATE meta SET epoch = epoch + 1")

    def stored_messages(self) -> set[int]:
        found = {row[0] for row in self.execute("SELECT id FROM message")}
        paged = self.path.with_name(self.path.name + ".paged")
        if paged.exists():
            with closing(sqlite3.connect(paged)) as connection:
                found |= {row[0] for row in connection.execute("SELECT id FROM message")}
        return found

    def execute(self, statement: str) -> list[tuple[int, ...]]:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            return connection.execute(statement).fetchall()


class MemoryPlace(Place):
    def __init__(self) -> None:
        super().__init__()
        self.disk = MemoryDisk()

    def make(self) -> Store:
        return MemoryStore(self.disk)

    def seize(self) -> None:
        self.disk.epoch += 1

    def stored_messages(self) -> set[int]:
        return set(self.disk.durable.messages) | set(self.disk.paged.messages)


class FaultyPlace(MemoryPlace):
    def make(self) -> Store:
        return FaultyStore(super().make())


@pytest.fixture(params=["sqlite", "memory", "faulty"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Each store in turn."""
    made: dict[str, Place] = {
        "sqlite": SqlitePlace(tmp_path),
        "memory": MemoryPlace(),
        "faulty": FaultyPlace(),
    }
    yield made[request.param]
    made[request.param].stop(release=False)


@pytest.fixture
def sqlite_place(tmp_path: Path) -> Iterator[SqlitePlace]:
    place = SqlitePlace(tmp_path)
    yield place
    place.stop(release=False)

"""The store's threads: what fails is tried again, what is final is said."""

from __future__ import annotations

import select
from collections.abc import Iterator

import pytest

from amqpd.broker.batch import Batch
from amqpd.server.inbox import Inbox
from amqpd.server.store_threads import StoreWriter
from amqpd.store.contract import StoreError, StoreFenced, StoreFull, StoreUncertain
from amqpd.store.memory import MemoryStore
from tests.support.faulty_store import Fault, FaultyStore

WAIT_SECONDS = 60.0


class Watcher:
    """A writer over a faulty store, and what it reported."""

    def __init__(self, store: FaultyStore) -> None:
        self.store = store
        self.inbox = Inbox()
        self.committed: list[int] = []
        self.troubles: list[StoreError | None] = []
        self.fatal: list[BaseException] = []
        self.writer = StoreWriter(store, self.inbox, self.committed.append, self.troubles.append, self.fatal.append)
        self.writer.start()

    def wait_for_report(self) -> None:
        assert select.select([self.inbox.fd], [], [], WAIT_SECONDS)[0], "nothing was reported"
        self.inbox.make_calls()

    def wait_until_committed(self, number: int) -> None:
        while number not in self.committed:
            self.wait_for_report()


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    store = FaultyStore(MemoryStore())
    store.open("main", "test")
    watching = Watcher(store)
    yield watching
    watching.writer.stop()


def batch(number: int) -> Batch:
    made = Batch(number)
    made.next_id = 100
    return made


def test_batches_are_committed_in_order(watcher: Watcher) -> None:
    for number in (1, 2, 3):
        watcher.writer.commit(batch(number))
    watcher.wait_until_committed(3)
    assert watcher.committed == [1, 2, 3]
    assert watcher.troubles == []


@pytest.mark.parametrize("fault", [Fault.FULL, Fault.UNAVAILABLE, Fault.UNCERTAIN_DONE, Fault.UNCERTAIN_NOT_DONE])
def test_a_commit_that_fails_is_tried_again_until_it_is_done_once(watcher: Watcher, fault: Fault) -> None:
    watcher.store.faults.append(fault)
    watcher.writer.commit(batch(1))
    watcher.writer.commit(batch(2))
    watcher.wait_until_committed(2)
    assert watcher.committed == [1, 2]
    assert watcher.store.commits == 2
    assert watcher.troubles[-1] is None
    assert isinstance(watcher.troubles[0], StoreError)


def test_a_store_that_cannot_be_resumed_yet_is_waited_for(watcher: Watcher) -> None:
    watcher.store.faults.append(Fault.UNCERTAIN_NOT_DONE)
    watcher.store.resumes_that_fail = 2
    watcher.writer.commit(batch(1))
    watcher.wait_until_committed(1)
    assert watcher.store.commits == 1


def test_what_is_final_is_reported_and_nothing_is_committed_after_it() -> None:
    class Fenced(FaultyStore):
        def commit(self, batch: Batch) -> None:
            raise StoreFenced("another owner")

    watching = Watcher(Fenced(MemoryStore()))
    watching.writer.commit(batch(1))
    while not watching.fatal:
        watching.wait_for_report()
    assert isinstance(watching.fatal[0], StoreFenced)
    assert watching.committed == []
    watching.writer.stop()


def test_stopping_gives_up_a_batch_that_cannot_be_written() -> None:
    class Full(FaultyStore):
        def commit(self, batch: Batch) -> None:
            raise StoreFull("no room")

    watching = Watcher(Full(MemoryStore()))
    watching.writer.commit(batch(1))
    while not watching.troubles:
        watching.wait_for_report()
    watching.writer.stop()
    assert watching.committed == []
    assert not isinstance(watching.troubles[0], StoreUncertain)

"""The simulation's store fails exactly as it is told, and as the contract says a store may."""

from __future__ import annotations

import pytest

from amqpd.store.contract import StoreFull, StoreUnavailable, StoreUncertain
from amqpd.store.memory import MemoryDisk, MemoryStore
from tests.store.batches import Writer, add, positions
from tests.support.faulty_store import Fault, FaultyStore


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore(MemoryStore(MemoryDisk()))


@pytest.fixture
def writer(store: FaultyStore) -> Writer:
    return Writer(store, store.open("main", "test"))


def test_full_writes_nothing_and_the_batch_may_be_repeated(store: FaultyStore, writer: Writer) -> None:
    store.plan(Fault.FULL, Fault.FULL)
    batch = writer.new()
    add(batch, [1], [10])
    for _ in range(2):
        with pytest.raises(StoreFull):
            writer.commit(batch)
    assert positions(store.reader(), 1) == []
    writer.commit(batch)
    assert positions(store.reader(), 1) == [10]


@pytest.mark.parametrize(
    ("fault", "error", "last_batch"),
    [
        (Fault.UNAVAILABLE, StoreUnavailable, 0),
        (Fault.UNCERTAIN_NOT_DONE, StoreUncertain, 0),
        (Fault.UNCERTAIN_DONE, StoreUncertain, 1),
    ],
)
def test_resume_tells_what_an_error_left_open(
    store: FaultyStore, writer: Writer, fault: Fault, error: type[Exception], last_batch: int
) -> None:
    store.plan(fault)
    store.resumes_that_fail = 1
    batch = writer.new()
    add(batch, [1], [10])
    with pytest.raises(error):
        writer.commit(batch)
    with pytest.raises(AssertionError):
        writer.commit(batch)
    with pytest.raises(StoreUnavailable):
        store.resume()
    assert store.resume() == last_batch
    writer.commit(batch)
    assert positions(store.reader(), 1) == [10]


def test_a_crash_forgets_what_was_not_committed(store: FaultyStore, writer: Writer) -> None:
    store.plan(None, Fault.UNCERTAIN_NOT_DONE)
    writer.publish([1], [10])
    with pytest.raises(StoreUncertain):
        writer.publish([1], [11])
    store.crash()
    opened = store.open("main", "again")
    assert (opened.epoch, opened.last_batch, opened.next_message_id, opened.clean) == (2, 1, 11, False)
    Writer(store, opened).publish([1], [12])
    assert positions(store.reader(), 1) == [10, 12]

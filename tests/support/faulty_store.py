"""A store that fails when told to, in each way the contract allows, around a store that works."""

from __future__ import annotations

from collections import deque
from enum import Enum

from amqpd.broker.batch import Batch
from amqpd.store.contract import (
    Opened,
    Store,
    StoreFull,
    StoreReader,
    StoreUnavailable,
    StoreUncertain,
)


class Fault(Enum):
    """What happens to one commit (or, where it says so, to one resume)."""

    FULL = "full"
    UNAVAILABLE = "unavailable"
    UNCERTAIN_DONE = "uncertain, and it was done"
    UNCERTAIN_NOT_DONE = "uncertain, and it was not done"


class FaultyStore:
    """``plan`` faults for the next commits; ``resumes_that_fail`` counts down.

    After an unavailable or uncertain commit the store must be resumed before anything else, as the contract
    says: a caller that commits instead gets an AssertionError.
    """

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.faults: deque[Fault | None] = deque()
        self.resumes_that_fail = 0
        self.must_resume = False
        self.commits = 0  # that were done, no-ops left out

    def plan(self, *faults: Fault | None) -> None:
        """What the next commits do, in order; None lets one through."""
        self.faults.extend(faults)

    def crash(self) -> None:
        """The process dies: what was not committed is gone, the claim is not given back."""
        self.faults.clear()
        self.resumes_that_fail = 0
        self.must_resume = False
        self.inner.close(release=False)

    def open(self, shard: str, owner: str) -> Opened:
        return self.inner.open(shard, owner)

    def commit(self, batch: Batch) -> None:
        assert not self.must_resume, "resume comes before the next commit"
        fault = self.faults.popleft() if self.faults else None
        if fault is Fault.FULL:
            raise StoreFull("planned: full")
        if fault is Fault.UNAVAILABLE:
            self.must_resume = True
            raise StoreUnavailable("planned: unavailable")
        if fault is Fault.UNCERTAIN_NOT_DONE:
            self.must_resume = True
            raise StoreUncertain("planned: uncertain")
        self.inner.commit(batch)
        self.commits += 1
        if fault is Fault.UNCERTAIN_DONE:
            self.must_resume = True
            raise StoreUncertain("planned: uncertain")

    def tidy(self) -> bool:
        return self.inner.tidy()

    def renew(self) -> float:
        return self.inner.renew()

    def resume(self) -> int:
        if self.resumes_that_fail > 0:
            self.resumes_that_fail -= 1
            raise StoreUnavailable("planned: resume fails")
        last = self.inner.resume()
        self.must_resume = False
        return last

    def close(self, release: bool) -> None:
        self.inner.close(release)

    def reader(self) -> StoreReader:
        return self.inner.reader()

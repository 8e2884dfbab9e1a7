"""The store's threads: one that commits batches, one that reads pages, one that checkpoints.

A thread never touches the broker: it hands results to the trio thread through the inbox. A store that fails is tried
again until it works; what is final (fenced, corrupt) ends the broker.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from amqpd.broker.batch import Batch, StoredEntry
from amqpd.broker.shard import PageRequest
from amqpd.server.inbox import Inbox
from amqpd.server.logs import Log
from amqpd.store.contract import (
    Store,
    StoreError,
    StoreFull,
    StoreReader,
    StoreUnavailable,
    StoreUncertain,
)
from amqpd.store.sqlite import SqliteStore

RETRY_SECONDS = 0.25
CHECKPOINT_SECONDS = 0.1
TIDY_SECONDS = 0.005  # between two slices of deleting: commits go in between


class StoreWriter:
    """Commits one batch at a time.

    ``committed(number)``, ``trouble(error)`` (an error that is tried again, None when it is over) and
    ``fatal(error)`` are called through ``inbox``, on the trio thread.
    """

    def __init__(
        self,
        store: Store,
        inbox: Inbox,
        committed: Callable[[int], None],
        trouble: Callable[[StoreError | None], None],
        fatal: Callable[[BaseException], None],
    ) -> None:
        self._store = store
        self._committed = committed
        self._trouble = trouble
        self._fatal = fatal
        self._call = inbox.call
        self._batches: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="amqpd-store-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def commit(self, batch: Batch) -> None:
        self._batches.put(batch)

    def stop(self) -> None:
        """End the thread after the batch under way, and wait for it. A batch that cannot be written is given up."""
        self._stopping.set()
        self._batches.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (batch := self._batches.get()) is not None:
            try:
                done = self._commit(batch)
            except BaseException as error:  # whatever it is, nothing can be confirmed any more
                self._call(self._fatal, error)
                return
            if not done:
                return
            self._call(self._committed, batch.number)

    def _commit(self, batch: Batch) -> bool:
        """True once the batch is on disk; False when stopped before. Raises what is final."""
        failing = resuming = False
        while True:
            try:
                if resuming and self._store.resume() == batch.number:
                    break
                resuming = False
                self._store.commit(batch)
                break
            except StoreFull as error:
                self._call(self._trouble, error)
            except (StoreUncertain, StoreUnavailable) as error:
                self._call(self._trouble, error)
                resuming = True
            failing = True
            if self._stopping.wait(RETRY_SECONDS):
                return False
        if failing:
            self._call(self._trouble, None)
        return True


class PageReader:
    """Reads pages for queues; ``loaded(request, entries)`` and ``fatal(error)`` are called through ``inbox``."""

    def __init__(
        self,
        reader: StoreReader,
        inbox: Inbox,
        loaded: Callable[[PageRequest, list[StoredEntry]], None],
        fatal: Callable[[BaseException], None],
    ) -> None:
        self._reader = reader
        self._loaded = loaded
        self._fatal = fatal
        self._call = inbox.call
        self._requests: queue.SimpleQueue[PageRequest | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="amqpd-store-reader", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def load(self, request: PageRequest) -> None:
        self._requests.put(request)

    def stop(self) -> None:
        self._stopping.set()
        self._requests.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (request := self._requests.get()) is not None:
            try:
                entries = self._load(request)
            except BaseException as error:
                self._call(self._fatal, error)
                return
            if entries is not None:
                self._call(self._loaded, request, entries)

    def _load(self, request: PageRequest) -> list[StoredEntry] | None:
        """The page; tried again while the store does not answer, None when stopped."""
        while True:
            try:
                return request.read(self._reader)
            except (StoreUnavailable, StoreUncertain, StoreFull):
                if self._stopping.wait(RETRY_SECONDS):
                    return None


class Checkpoints:
    """Moves the log into the database, and deletes what was purged or dropped, beside the commits."""

    def __init__(self, store: SqliteStore, log: Log, inbox: Inbox, fatal: Callable[[BaseException], None]) -> None:
        """``fatal(error)`` is called through ``inbox``: without this thread the log would grow without end."""
        self._store = store
        self._log = log
        self._call = inbox.call
        self._fatal = fatal
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="amqpd-checkpoints", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        wait = CHECKPOINT_SECONDS
        while not self._stopping.wait(wait):
            wait = CHECKPOINT_SECONDS
            try:
                self._store.checkpointer.checkpoint_step()
                if self._store.tidy():
                    wait = TIDY_SECONDS
            except StoreError as error:
                # The next commit meets the same trouble and raises the alarm; here it only waits.
                self._log.warning(f"checkpoint failed, it is tried again: {error}")
                wait = 1.0
            except Exception as error:
                self._call(self._fatal, error)
                return

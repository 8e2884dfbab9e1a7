"""The seam between a queue and the order of its ready messages. Hot.

``FifoReady`` (amqpd/queues/ready.py) is one lane, first in, first out; ``PriorityReady`` (amqpd/queues/priority.py)
is made of several.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mypy_extensions import i64, mypyc_attr

from amqpd.broker.message import Entry, Message
from amqpd.broker.queue import Lane

if TYPE_CHECKING:
    from amqpd.broker.batch import QueueSummary, StoredEntry
    from amqpd.broker.shard import PageRequest


@mypyc_attr(allow_interpreted_subclasses=True)
class ReadyList:
    def lane_for(self, message: Message) -> Lane:
        """The lane a new message belongs to."""
        raise NotImplementedError

    def push(self, entry: Entry) -> None:
        """A new entry, behind all others of its lane."""
        raise NotImplementedError

    def pop(self) -> Entry | None:
        """The next entry; None when there is none, or none in memory yet (see ``loading``)."""
        raise NotImplementedError

    def put_back(self, entry: Entry) -> None:
        """An entry that was taken returns to its place."""
        raise NotImplementedError

    def available(self) -> bool:
        """``pop`` would return an entry. Asks for a page where that is what is missing."""
        raise NotImplementedError

    def loading(self) -> bool:
        """Entries are there, but the next one is on disk only."""
        raise NotImplementedError

    def count(self) -> i64:
        """Entries in memory and on disk."""
        raise NotImplementedError

    def size(self) -> i64:
        """Octets of all bodies, wherever they are."""
        raise NotImplementedError

    def expire(self, now: i64, inclusive: bool) -> list[Entry]:
        """Take out what is in memory and has a deadline before ``now`` (``inclusive``: or at it)."""
        raise NotImplementedError

    def next_deadline(self) -> i64:
        """No entry expires before; 0 when none does at all."""
        raise NotImplementedError

    def identify(self, first: i64) -> None:
        """The id of the first lane; the others follow."""
        raise NotImplementedError

    def lanes(self) -> list[Lane]:
        """Those in use."""
        raise NotImplementedError

    def take_all(self) -> list[Entry]:
        """Forget everything, on disk too; returns what was in memory. Settling it is the caller's."""
        raise NotImplementedError

    def purge_disk(self) -> None:
        """Hand the ranges that are only on disk to the journal, to be purged; before ``take_all``."""
        raise NotImplementedError

    def paged(self) -> bool:
        """A transient message was put on disk since the queue was made."""
        raise NotImplementedError

    def committed(self, number: i64) -> None:
        """Batches up to ``number`` are on disk."""
        raise NotImplementedError

    def page_loaded(self, request: PageRequest, page: list[StoredEntry]) -> list[Entry]:
        """A page that was asked for. Returns those that were read because they are due: out of the list."""
        raise NotImplementedError

    def restore(self, level: i64, row: QueueSummary, redelivered: i64) -> None:
        """At start everything is on disk."""
        raise NotImplementedError

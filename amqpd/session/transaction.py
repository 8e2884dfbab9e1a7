"""Transactions of one channel (spec 1.9, class tx).

Publishes are checked and routed when they are published, but reach their queues at commit; settlements are applied
after them. All of it lies in one batch of the journal, so here a transaction is atomic over all its queues.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from amqpd.broker.message import Entry, Message
from amqpd.broker.queue import Queue
from amqpd.spec.errors import PreconditionFailed

if TYPE_CHECKING:
    from amqpd.session.channel import Channel


class Transaction:
    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.publishes: list[tuple[Message, list[Queue], bool]] = []
        self.settlements: list[tuple[list[Entry], bool, int]] = []

    def publish(self, message: Message, queues: list[Queue], mandatory: bool) -> None:
        self.publishes.append((message, queues, mandatory))

    def settle(self, entries: list[Entry], acked: bool, requeue: int) -> None:
        """See ``Channel.settle_entries``."""
        self.settlements.append((entries, acked, requeue))

    def commit(self) -> None:
        """Apply everything; a queue deleted since is passed over.

        Raises PreconditionFailed (406) when a queue refused a message: the rest is done all the same.
        """
        complete = True
        publishes, self.publishes = self.publishes, []
        settlements, self.settlements = self.settlements, []
        for message, queues, mandatory in publishes:
            alive = [queue for queue in queues if not queue.deleted]
            complete = self.channel.publish(message, alive, mandatory) and complete
        for entries, acked, requeue in settlements:
            self.channel.settle_entries(entries, acked, requeue)
        if not complete:
            raise PreconditionFailed("partial tx completion")

    def rollback(self) -> None:
        """Forget the publishes; settled deliveries are outstanding again."""
        self.publishes = []
        settlements, self.settlements = self.settlements, []
        self.channel.unacked.put_back([entry for entries, _, _ in settlements for entry in entries])

"""Whose turn it is: by priority, and round robin among consumers of the same one. Hot.

A consumer that cannot take a message leaves its round and is put back by ``resume`` when its credit returns, so that
a thousand stuck consumers cost a delivery nothing, and one of a lower priority gets its turn.
"""

from __future__ import annotations

from typing import final

from mypy_extensions import i64, mypyc_attr

from amqpd.broker.queue import Consumer


@final
class Round:
    """The consumers of one priority that are not waiting; ``at`` is the index of the one whose turn it is."""

    def __init__(self, priority: i64) -> None:
        self.priority: i64 = priority
        self.consumers: list[Consumer] = []
        self.at: i64 = 0

    def next(self) -> Consumer | None:
        """The next one that can take a message; None when nobody can."""
        consumers = self.consumers
        while consumers:
            at = self.at
            consumer = consumers[at]
            if consumer.channel.can_take(consumer):
                at += 1
                self.at = at if at < len(consumers) else 0
                return consumer
            consumer.waiting = True
            self._leave(at)
        return None

    def enter(self, consumer: Consumer) -> None:
        """At the end of the round: just before the one whose turn it is."""
        at = self.at
        self.consumers.insert(at, consumer)
        if len(self.consumers) > 1:
            self.at = at + 1

    def remove(self, consumer: Consumer) -> None:
        self._leave(self.consumers.index(consumer))

    def _leave(self, index: i64) -> None:
        self.consumers.pop(index)
        if index < self.at:
            self.at -= 1
        if self.at >= len(self.consumers):
            self.at = 0


@mypyc_attr(allow_interpreted_subclasses=True)
class ConsumerRing:
    """``all``: every consumer in the order of subscription, waiting ones too. ``rounds``: highest priority first."""

    def __init__(self) -> None:
        self.all: list[Consumer] = []
        self.rounds: list[Round] = []

    def active(self) -> Consumer | None:
        """The only consumer that gets messages; None where all do."""
        return None

    def add(self, consumer: Consumer) -> None:
        self.all.append(consumer)
        self._round(consumer.priority).enter(consumer)

    def remove(self, consumer: Consumer) -> None:
        self.all.remove(consumer)
        if not consumer.waiting:
            self._round(consumer.priority).remove(consumer)
        # Clients choose priorities freely: a round nobody is in must not stay.
        self.rounds = [one for one in self.rounds if one.consumers]

    def next(self) -> Consumer | None:
        """The next consumer that can take a message; None when nobody can."""
        for one in self.rounds:
            consumer = one.next()
            if consumer is not None:
                return consumer
        return None

    def resume(self, consumer: Consumer) -> None:
        if consumer.waiting and not consumer.cancelled:
            consumer.waiting = False
            self._round(consumer.priority).enter(consumer)

    def _round(self, priority: i64) -> Round:
        index: i64 = 0
        for one in self.rounds:
            if one.priority == priority:
                return one
            if one.priority < priority:
                break
            index += 1
        made = Round(priority)
        self.rounds.insert(index, made)
        return made

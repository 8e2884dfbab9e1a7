"""Whatever happens to waiting messages, an operator sees exactly them, and they come exactly once, in order.

Publishes, cancels, new times, passing time, pages that are read late, crashes and restarts, against a dict.
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from amqpd.broker.inquiry import Inquiry
from amqpd.store.memory import MemoryStore
from amqpd_delayed_message import register
from amqpd_delayed_message.exchange import KIND, DelayedExchange
from interop.conformance.codec import Typed
from tests.support.linked import Linked, LinkedClient

delays = st.integers(1, 300)


class Operated(RuleBasedStateMachine):
    """``waiting``: due time and order of publishing, by name. ``unsure``: not committed, a crash may lose it."""

    @initialize(window=st.sampled_from([4, 9, 10_000]))
    def begin(self, window: int) -> None:
        self.window = window
        self.linked = Linked(MemoryStore(), plugins=[register])
        self.client: LinkedClient = self.linked.client()
        arguments = {"x-delayed-type": "fanout"}
        self.client.call("exchange.declare", exchange="x", type=KIND, durable=True, arguments=arguments)
        self.client.call("queue.declare", queue="q", durable=True)
        self.client.call("queue.bind", queue="q", exchange="x")
        self.linked.settle()
        self.waiting: dict[str, tuple[int, int]] = {}
        self.unsure: set[str] = set()
        self.count = 0
        self._narrow()

    def _narrow(self) -> None:
        found = self.linked.broker.vhosts["/"].exchanges["x"]
        assert isinstance(found, DelayedExchange)
        found.schedule.window_messages_max = self.window

    @property
    def now(self) -> int:
        return int(self.linked.broker.now)

    def _run(self, name: str, between: bool = False, **arguments: Any) -> Any:
        """A command; ``between``: what is open is committed and pages are loaded after it has read."""
        broker = self.linked.broker
        result = broker.registry.commands[f"delayed {name}"].run(broker, arguments)
        if isinstance(result, Inquiry):
            result.read(self.linked.reader)
            if between:
                self.linked.settle()
            inquiry, result = result, result.answer()
            inquiry.end()
        self.linked.turn()
        return result

    def _committed(self) -> None:
        self.linked.settle()
        self.unsure.clear()

    # What clients do

    @rule(delay=delays, count=st.integers(1, 6))
    def publish(self, delay: int, count: int) -> None:
        for number in range(count):
            name, due = f"m{self.count}", self.now + delay * (1 + number % 3)
            headers = {"x-delay": Typed("l", due - self.now), "odd": str(self.count % 2)}
            self.client.publish("x", "", name.encode(), {"headers": headers, "message_id": name, "delivery_mode": 2})
            self.waiting[name] = (due, self.count)
            self.unsure.add(name)
            self.count += 1

    @rule()
    def commit(self) -> None:
        self._committed()

    @rule()
    def load_pages(self) -> None:
        self.linked.load_pages()

    @rule(milliseconds=st.integers(1, 400))
    def advance(self, milliseconds: int) -> None:
        self._committed()
        self.linked.advance(milliseconds)
        self._came()

    def _came(self) -> None:
        """Everything that is due is in the queue, in order; nothing else is."""
        self._committed()
        due = sorted((place, name) for name, place in self.waiting.items() if place[0] <= self.now)
        for _, name in due:
            del self.waiting[name]
        assert self._drained() == [name for _, name in due]
        self._committed()

    def _drained(self) -> list[str]:
        found: list[str] = []
        while True:
            self.client.send("basic.get", queue="q", no_ack=True)
            if not self.client.inbox:
                self.linked.load_pages()
            answer = self.client.inbox.popleft()
            if answer.name == "basic.get-empty":
                return found
            found.append(answer.body.decode())

    # What the operator does

    def _some(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.waiting)), label="which")

    def _identity(self, name: str) -> int:
        (row,) = self._run("list", message_id=name)["messages"]
        assert isinstance(row["id"], int)
        return row["id"]

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), by_id=st.booleans(), between=st.booleans())
    def cancel(self, data: st.DataObject, by_id: bool, between: bool) -> None:
        name = self._some(data)
        which: dict[str, Any] = {"ids": [self._identity(name)]} if by_id else {"message_id": name}
        assert self._run("cancel", between, **which)["count"] == 1
        del self.waiting[name]
        self._committed()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), later=delays, between=st.booleans())
    def reschedule(self, data: st.DataObject, later: int, between: bool) -> None:
        name = self._some(data)
        due, order = self.waiting[name]
        answer = self._run("reschedule", between, **{"ids": [self._identity(name)], "in": later})
        assert answer["count"] == (due != self.now + later)
        self.waiting[name] = (self.now + later, order)
        self._committed()

    @rule(later=delays, between=st.booleans())
    def reschedule_half(self, later: int, between: bool) -> None:
        self._run("reschedule", between, **{"headers": {"odd": "1"}, "in": later})
        for name, (_, order) in self.waiting.items():
            if order % 2:
                self.waiting[name] = (self.now + later, order)
        self._committed()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), between=st.booleans())
    def fire(self, data: st.DataObject, between: bool) -> None:
        name = self._some(data)
        assert self._run("fire", between, message_id=name)["count"] == 1
        self.waiting[name] = (self.now, self.waiting[name][1])
        self._came()

    @rule(limit=st.integers(1, 7), between=st.booleans())
    def list_pages(self, limit: int, between: bool) -> None:
        found: list[str] = []
        page = None
        while True:
            answer = self._run("list", between, limit=limit, page=page)
            found += [row["message_id"] for row in answer["messages"]]
            page = answer["next"]
            if page is None:
                break
        if between:
            self.unsure.clear()
        assert found == [name for _, name in sorted((place, name) for name, place in self.waiting.items())]

    # What happens to the broker

    @rule(crash=st.booleans(), away=st.integers(0, 200))
    def restart(self, crash: bool, away: int) -> None:
        assert isinstance(self.linked.store, MemoryStore)
        if crash:
            self.linked.crash()
            for name in self.unsure:
                self.waiting.pop(name, None)
        else:
            self.linked.stop()
        now = self.now + away
        self.linked = Linked(MemoryStore(self.linked.store.disk), now, plugins=[register])
        self.client = self.linked.client()
        self._narrow()
        self.linked.turn()
        self._came()

    @invariant()
    def counts_are_right(self) -> None:
        if not hasattr(self, "waiting"):
            return
        (row,) = self._run("stats")
        assert row["waiting"] == len(self.waiting)


TestOperated = Operated.TestCase
TestOperated.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)

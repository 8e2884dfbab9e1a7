"""Load for a broker that is going to die, and what must be there when it is back.

What a client may rely on, in terms of what it saw:

1. A publish is *confirmed* when its basic.ack was read, or the tx.commit-ok after it. It must be there,
   unless it was acked or purged.
2. An ack is *committed* when a publish that was sent after it, on the same connection, is confirmed: frames
   of one connection are handled in order and batches are committed in order, so the confirm's batch is not
   older than the ack's. The same holds for tx.commit-ok. The message must not come back. An ack that was sent
   but is not known to be committed may have been lost: the message may come back or not.
3. A purge is committed by the same rule. Before that it is either done or not done, as a whole; so is a
   tx.commit. A durable queue is there when declare-ok was read, and gone when delete-ok was read.
4. A message that was delivered and comes back is flagged as redelivered.
5. In each queue, what one publisher channel sent is in the order in which it was sent, and nothing is there
   twice.

A ``Model`` is written by the threads of the load, each its own part, and read when they have ended.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pamqp import commands

from tests.process.client import TIMEOUT_SECONDS, Client, Closed, Message, publish_frames

FANOUT: Final = "fan"
FANNED: Final = ("fan-a", "fan-b")
DIRECT: Final = ("work-0", "work-1")
PURGED: Final = "purged"
MARKS: Final = "marks"
QUEUES: Final = (*FANNED, *DIRECT, PURGED, MARKS)
TEMPORARY_MESSAGES: Final = 3
EMPTIED: Final = b"emptied 0 "
WINDOW: Final = 200  # publishes that wait for their confirm, at most


@dataclass
class QueueModel:
    """What is known of one queue, by body. ``sent`` is in order for each publisher (see ``publisher_of``)."""

    sent: dict[bytes, None] = field(default_factory=dict)
    confirmed: set[bytes] = field(default_factory=set)
    delivered: set[bytes] = field(default_factory=set)
    acked: set[bytes] = field(default_factory=set)
    committed: set[bytes] = field(default_factory=set)  # acked or purged, for sure
    # Each is done as a whole or not at all.
    purges: list[frozenset[bytes]] = field(default_factory=list)


class Known(NamedTuple):
    """Confirmed and committed bodies by queue, and the queues that come and go."""

    queues: dict[str, tuple[set[bytes], set[bytes]]]
    temporary: dict[str, int]


@dataclass
class Model:
    queues: dict[str, QueueModel] = field(default_factory=lambda: {name: QueueModel() for name in QUEUES})
    # Queues that come and go, and how many messages they hold at least; -1 must be gone, not in here: either.
    temporary: dict[str, int] = field(default_factory=dict)
    # What each took from one queue and put into the next: both happened or neither.
    transactions: list[tuple[frozenset[bytes], frozenset[bytes]]] = field(default_factory=list)
    faults: list[BaseException] = field(default_factory=list)

    def known(self) -> Known:
        """What clients have been told up to now. May be called while the load runs."""
        return Known(
            {name: (set(queue.confirmed), set(queue.committed)) for name, queue in self.queues.items()},
            dict(self.temporary),
        )

    def rely_on(self, known: Known) -> None:
        """Take back what clients were told after ``known`` was made."""
        for name, (confirmed, committed) in known.queues.items():
            queue = self.queues[name]
            queue.confirmed, queue.committed = confirmed, committed
        for name, count in list(self.temporary.items()):
            before = known.temporary.get(name)
            if before is None or (count == -1 and before >= 0):
                del self.temporary[name]
            else:
                self.temporary[name] = before

    def counts(self) -> dict[str, int]:
        queues = self.queues.values()
        return {
            "confirmed": sum(len(queue.confirmed) for queue in queues),
            "acks committed": sum(len(queue.committed) for queue in queues),
            "acks open": sum(len(queue.acked - queue.committed) for queue in queues),
        }


def publisher_of(body: bytes) -> bytes:
    return body.split(b" ", 2)[0]


def number_of(body: bytes) -> int:
    return int(body.split(b" ", 2)[1])


class Load:
    """Threads that use the broker at ``port`` until it is gone, or until ``stop``.

    ``round_number`` makes names and bodies unique over the rounds of a test.
    """

    def __init__(self, port: int, model: Model, round_number: int, chance: random.Random) -> None:
        self.port = port
        self.model = model
        self.round = round_number
        self.stopping = threading.Event()
        acts = self.acts()
        self.ready = threading.Barrier(len(acts) + 1)
        seeds = [chance.randrange(1 << 30) for _ in acts]
        self.threads = [
            threading.Thread(target=self._run, args=(act, random.Random(seed)), name=act.__name__)
            for act, seed in zip(acts, seeds, strict=True)
        ]

    def acts(self) -> list[Callable[[Client, random.Random], None]]:
        """Each is done by a client of its own."""
        return [
            self._publish_fanout,
            self._publish_direct,
            self._consume,
            self._consume_transactionally,
            self._purge,
            self._come_and_go,
        ]

    def start(self) -> None:
        """Returns when all clients are connected."""
        for thread in self.threads:
            thread.start()
        self.ready.wait(TIMEOUT_SECONDS)

    def join(self) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join(TIMEOUT_SECONDS)
            assert not thread.is_alive(), f"{thread.name} hangs"
        for fault in self.model.faults:
            raise fault

    def _run(self, act: Callable[[Client, random.Random], None], chance: random.Random) -> None:
        try:
            with Client(self.port) as client:
                client.confirm_select()
                self.ready.wait(TIMEOUT_SECONDS)
                act(client, chance)
        except (Closed, ConnectionError) as error:
            # The end that the test brings about; a close with a code is not.
            if isinstance(error, Closed) and error.code:
                self.model.faults.append(error)
        except BaseException as error:
            self.model.faults.append(error)
            self.ready.abort()

    # Publishers

    def _publish_fanout(self, client: Client, chance: random.Random) -> None:
        self.publish(client, chance, FANOUT, "", FANNED)

    def _publish_direct(self, client: Client, chance: random.Random) -> None:
        self.publish(client, chance, "", DIRECT[0], DIRECT[:1])

    def publish(
        self,
        client: Client,
        chance: random.Random,
        exchange: str,
        key: str,
        names: tuple[str, ...],
        persistent: bool = True,
    ) -> None:
        queues = [self.model.queues[name] for name in names]
        waiting = Waiting(client)
        number = 0
        while not self.stopping.is_set():
            for _ in range(chance.choice((1, 1, 5, 50))):
                body = self._body(exchange or key, number, chance)
                number += 1
                for queue in queues:
                    queue.sent[body] = None
                client.publish(key, body, exchange, persistent)
                waiting.add(client.published, [(queue, body) for queue in queues])
            waiting.settle(WINDOW if chance.random() < 0.9 else 0)

    def _body(self, publisher: str, number: int, chance: random.Random) -> bytes:
        filler = bytes(chance.choice((0, 10, 100, 1000, 5000)))
        return f"{publisher}-{self.round} {number} ".encode() + filler

    # Consumers

    def _consume(self, client: Client, chance: random.Random) -> None:
        """Acks of one and of many, some requeued, and now and then a mark that proves the acks committed."""
        client.consume(FANNED[0], prefetch=100)
        queue = self.model.queues[FANNED[0]]
        unacked: dict[int, bytes] = {}
        waiting = Waiting(client)
        marks = 0
        while not self.stopping.is_set():
            message = next_message(client)
            if message is None:
                continue
            unacked[message.delivery_tag] = message.body
            queue.delivered.add(message.body)
            dice = chance.random()
            if dice < 0.1:
                tag = chance.choice(list(unacked))
                taken = [one for one in unacked if one <= tag]
                queue.acked.update(unacked.pop(one) for one in taken)
                client.ack(tag, multiple=True)
            elif dice < 0.2:
                tag = chance.choice(list(unacked))
                queue.acked.add(unacked.pop(tag))
                client.ack(tag)
            elif dice < 0.25:
                tag = chance.choice(list(unacked))
                del unacked[tag]
                client.send(commands.Basic.Nack(tag, requeue=True))
            if chance.random() < 0.05 or len(unacked) >= 100:
                self._mark(client, waiting, marks, queue, set(queue.acked))
                marks += 1
                waiting.settle(5)
            if len(unacked) >= 100:
                client.ack(0, multiple=True)
                queue.acked.update(unacked.values())
                unacked.clear()

    def _mark(self, client: Client, waiting: Waiting, number: int, queue: QueueModel, acked: set[bytes]) -> None:
        """Publish behind the acks; its confirm proves that they are committed."""
        body = f"mark-{self.round} {number} ".encode()
        marks = self.model.queues[MARKS]
        marks.sent[body] = None
        client.publish(MARKS, body)
        waiting.add(client.published, [(marks, body)], lambda: queue.committed.update(acked))

    def _consume_transactionally(self, client: Client, chance: random.Random) -> None:
        """Takes from one queue and puts into the next, some of it rolled back."""
        source, target = (self.model.queues[name] for name in DIRECT)
        client.open_channel(2)
        client.send(commands.Tx.Select(), 2)
        client.wait(commands.Tx.SelectOk)
        client.consume(DIRECT[0], prefetch=20, channel=2)
        number = 0
        taken: dict[int, bytes] = {}
        while not self.stopping.is_set():
            message = next_message(client)
            if message is None:
                continue
            taken[message.delivery_tag] = message.body
            source.delivered.add(message.body)
            if len(taken) < chance.choice((1, 3, 10)):
                continue
            moved: list[bytes] = []
            for tag in taken:
                body = f"moved-{self.round} {number} ".encode()
                number += 1
                moved.append(body)
                target.sent[body] = None
                client.sock.sendall(publish_frames(DIRECT[1], body, channel=2))
                client.ack(tag, channel=2)
            if len(taken) < 15 and chance.random() < 0.1:
                client.send(commands.Tx.Rollback(), 2)
                client.wait(commands.Tx.RollbackOk)
                for body in moved:
                    del target.sent[body]
                continue
            source.acked.update(taken.values())
            whole = (frozenset(taken.values()), frozenset(moved))
            self.model.transactions.append(whole)
            client.send(commands.Tx.Commit(), 2)
            client.wait(commands.Tx.CommitOk)
            source.committed.update(taken.values())
            target.confirmed.update(moved)
            taken = {}

    # Operators

    def _purge(self, client: Client, chance: random.Random) -> None:
        """Nobody else uses the queue, so it is known what a purge took away."""
        queue = self.model.queues[PURGED]
        there = set(queue.confirmed - queue.committed)
        number = 0
        while not self.stopping.is_set():
            batch: list[bytes] = []
            for _ in range(chance.randrange(1, 30)):
                body = self._body(PURGED, number, chance)
                number += 1
                queue.sent[body] = None
                client.publish(PURGED, body)
                batch.append(body)
            client.wait_confirms()
            queue.confirmed.update(batch)
            there.update(batch)
            if chance.random() < 0.5:
                continue
            purge = frozenset(there)
            queue.purges.append(purge)
            assert client.purge(PURGED) == len(there)
            body = self._body(PURGED, number, chance)
            number += 1
            queue.sent[body] = None
            client.put(PURGED, body)
            queue.confirmed.add(body)
            queue.committed.update(purge)
            there = {body}

    def _come_and_go(self, client: Client, chance: random.Random) -> None:
        """Durable queues that are declared, filled and deleted."""
        temporary = self.model.temporary
        alive = list(temporary)
        number = 0
        while not self.stopping.is_set():
            name = f"temporary-{self.round}-{number}"
            number += 1
            client.declare(name)
            temporary[name] = 0
            for count in range(TEMPORARY_MESSAGES):
                client.publish(name, b"%d" % count)
            client.wait_confirms()
            temporary[name] = TEMPORARY_MESSAGES
            alive.append(name)
            if chance.random() < 0.7:
                name = alive.pop(chance.randrange(len(alive)))
                del temporary[name]  # from now on either
                client.delete(name)
                temporary[name] = -1


def next_message(client: Client) -> Message | None:
    try:
        return client.receive(0.05)
    except TimeoutError:
        return None


class Waiting:
    """Publishes of one client that wait for their confirm, in order."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.rows: list[tuple[int, list[tuple[QueueModel, bytes]], Callable[[], None] | None]] = []

    def add(
        self,
        number: int,
        places: list[tuple[QueueModel, bytes]],
        then: Callable[[], None] | None = None,
    ) -> None:
        self.rows.append((number, places, then))

    def settle(self, left: int) -> None:
        """Wait until at most ``left`` are open; note what is confirmed when the broker goes meanwhile."""
        try:
            self.client.wait_confirms(self.client.published - left)
        finally:
            # Acks that were read before the end count; those that were not do not.
            self.client.take_confirms()
            done = 0
            for number, places, then in self.rows:
                if number > self.client.confirmed:
                    break
                done += 1
                for queue, body in places:
                    queue.confirmed.add(body)
                if then is not None:
                    then()
            del self.rows[:done]


# Checking


def declare_all(client: Client) -> None:
    for name in QUEUES:
        client.declare(name)
    client.send(commands.Exchange.Declare(exchange=FANOUT, exchange_type="fanout", durable=True))
    client.wait(commands.Exchange.DeclareOk)
    for name in FANNED:
        client.bind(name, FANOUT)


def check(port: int, model: Model, keep: bool) -> None:
    """Look at everything the broker holds. Raises AssertionError where it broke a promise.

    With ``keep`` everything is put back as it was, otherwise the queues are emptied. The model then holds
    what is there, for the next round.
    """
    with Client(port) as client:
        found = {name: read_all(client, name) for name in QUEUES}
        for name, queue in model.queues.items():
            check_queue(name, queue, found[name])
        _check_transactions(model, found)
        _check_temporary(client, model)
        if not keep:
            # The confirm proves the acks before it committed: what comes back now was sent by nobody.
            client.ack(0, multiple=True)
            client.confirm_select()
            client.put(MARKS, EMPTIED)
            found = {name: [] for name in QUEUES}
        # Closing puts back what was not acked.
        client.close()
    model.transactions.clear()
    for name in QUEUES:
        bodies = [message.body for message in found[name]]
        model.queues[name] = QueueModel(dict.fromkeys(bodies), set(bodies), set(bodies))
    if not keep:
        model.queues[MARKS] = QueueModel({EMPTIED: None}, {EMPTIED})


def read_all(client: Client, name: str) -> list[Message]:
    """Everything in the queue, not acknowledged."""
    count = client.count(name)
    client.consume(name, tag=name)
    found = [client.receive() for _ in range(count)]
    client.send(commands.Basic.Cancel(name))
    client.wait(commands.Basic.CancelOk)
    assert not client.messages, f"{name}: more messages than it said"
    return found


def check_queue(name: str, queue: QueueModel, found: list[Message]) -> None:
    bodies = [message.body for message in found]
    there = set(bodies)
    assert len(there) == len(bodies), f"{name}: a message is there twice"
    strange = there - queue.sent.keys()
    assert not strange, f"{name}: nobody sent {shown(strange)}"
    back = there & queue.committed
    assert not back, f"{name}: came back after a committed ack or purge: {shown(back)}"
    may_be_gone = queue.acked.union(queue.committed, *queue.purges)
    lost = queue.confirmed - may_be_gone - there
    assert not lost, f"{name}: confirmed and lost: {shown(lost)}"
    for purge in queue.purges:
        left = purge & there
        assert not left or left == purge - queue.committed, f"{name}: half a purge was done"
    last: dict[bytes, int] = {}
    for body in bodies:
        publisher, number = publisher_of(body), number_of(body)
        assert number > last.get(publisher, -1), f"{name}: out of order at {shown([body])}"
        last[publisher] = number
    unflagged = [message.body for message in found if message.body in queue.delivered and not message.redelivered]
    assert not unflagged, f"{name}: delivered before and not flagged: {shown(unflagged)}"


def _check_transactions(model: Model, found: dict[str, list[Message]]) -> None:
    source, target = ({message.body for message in found[name]} for name in DIRECT)
    for taken, moved in model.transactions:
        there = moved & target
        assert not there or there == moved, f"half a transaction: {shown(moved - there)} missing"
        assert not there or not taken & source, f"half a transaction: {shown(taken & source)} is in both queues"


def _check_temporary(client: Client, model: Model) -> None:
    for name, wanted in list(model.temporary.items()):
        client.open_channel(9)
        try:
            count = client.declare(name, passive=True, channel=9)
        except Closed as closed:
            if closed.code != 404:
                raise
            assert wanted == -1, f"{name}: its declare was answered and it is gone"
            client.send(commands.Channel.CloseOk(), 9)
            del model.temporary[name]
        else:
            assert wanted <= count <= TEMPORARY_MESSAGES, f"{name}: {count} messages, not {wanted} (-1: deleted)"
            assert wanted >= 0, f"{name}: its delete was answered and it is back"
            client.send(commands.Channel.Close(200, "", 0, 0), 9)
            client.wait(commands.Channel.CloseOk)


def shown(bodies: Collection[bytes]) -> str:
    return ", ".join(sorted(body[:40].rstrip(b"\0").decode() for body in bodies)[:10])

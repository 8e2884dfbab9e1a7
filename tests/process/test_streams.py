"""A real process is killed at random moments while clients publish to streams and read them.

What was confirmed is there when it is back, in order, and each message has the offset it always had.
``AMQPD_CRASH_ROUNDS`` and ``AMQPD_CRASH_SEED`` are those of test_crash.py; there are fewer rounds here.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, Final

import pytest
from pamqp import commands

from tests.process.broker_process import BrokerProcess
from tests.process.client import Client, Message
from tests.process.load import (
    FANOUT,
    Load,
    Model,
    QueueModel,
    check_queue,
    next_message,
    number_of,
    publisher_of,
    read_all,
    shown,
)
from tests.process.test_crash import ROUNDS as CRASH_ROUNDS
from tests.process.test_crash import SEED

ROUNDS: Final = max(CRASH_ROUNDS // 5, 1)
LOG: Final = "log"  # keeps everything
SHORT: Final = "short"
SHORT_BYTES: Final = 300_000
WORK: Final = "work"  # a classic queue
ARGUMENTS: Final[dict[str, dict[str, Any]]] = {
    LOG: {"x-queue-type": "stream"},
    SHORT: {"x-queue-type": "stream", "x-max-length-bytes": SHORT_BYTES},
}
PREFETCH: Final = 100


class Reader:
    """A consumer of a stream. ``known``: what anybody ever got, by offset."""

    def __init__(self, client: Client, stream: str, known: dict[int, bytes], start: object, tag: str) -> None:
        self.client = client
        self.stream = stream
        self.known = known
        self.tag = tag
        self.next = -1  # anything
        client.consume(stream, PREFETCH, tag=tag, arguments={"x-stream-offset": start})

    def take(self, message: Message) -> int:
        """Its offset."""
        offset = int(message.headers["x-stream-offset"])
        known = self.known.setdefault(offset, message.body)
        assert known == message.body, f"{self.stream}: offset {offset} was {shown([known])}, is {shown([message.body])}"
        assert not message.redelivered
        # Retention may overtake a reader of the short one.
        in_order = offset == self.next or (self.stream == SHORT and offset > self.next)
        assert self.next == -1 or in_order, f"{self.stream}: offset {offset} came where {self.next} was to come"
        self.next = offset + 1
        if message.delivery_tag % (PREFETCH // 2) == 0:
            self.client.ack(message.delivery_tag, multiple=True)
        return offset

    def stop(self) -> None:
        self.client.send(commands.Basic.Cancel(self.tag))
        self.client.wait(commands.Basic.CancelOk)
        self.client.messages.clear()
        self.client.ack(0, multiple=True)


class StreamLoad(Load):
    """``known``: by stream and offset."""

    known: dict[str, dict[int, bytes]]

    def acts(self) -> list[Callable[[Client, random.Random], None]]:
        return [self._publish_to_all, self._publish_to_log, self._follow_log, self._follow_short, self._replay]

    def _publish_to_all(self, client: Client, chance: random.Random) -> None:
        self.publish(client, chance, FANOUT, "", (LOG, SHORT, WORK))

    def _publish_to_log(self, client: Client, chance: random.Random) -> None:
        """Transient messages: a stream keeps them, too."""
        self.publish(client, chance, "", LOG, (LOG,), persistent=False)

    def _follow_log(self, client: Client, chance: random.Random) -> None:
        self._follow(client, LOG)

    def _follow_short(self, client: Client, chance: random.Random) -> None:
        self._follow(client, SHORT)

    def _follow(self, client: Client, name: str) -> None:
        """Everything from now on."""
        reader = Reader(client, name, self.known[name], "next", name)
        while not self.stopping.is_set():
            message = next_message(client)
            if message is not None:
                reader.take(message)

    def _replay(self, client: Client, chance: random.Random) -> None:
        """From anywhere, again and again."""
        number = 0
        while not self.stopping.is_set():
            name = chance.choice((LOG, SHORT))
            known = self.known[name]
            start = chance.choice(("first", "last", "next", chance.randrange(len(known) + 1)))
            number += 1
            reader = Reader(client, name, known, start, f"{name}-{number}")
            reader.next = 0 if start == "first" else start if isinstance(start, int) and start in known else -1
            for _ in range(chance.choice((1, 20, 300))):
                message = next_message(client)
                if message is None:
                    break
                reader.take(message)
            reader.stop()


def check(port: int, model: Model, known: dict[str, dict[int, bytes]]) -> None:
    """Look at everything the broker holds. Raises AssertionError where it broke a promise."""
    with Client(port) as client:
        for name in ARGUMENTS:
            count = client.count(name)
            reader = Reader(client, name, known[name], "first", f"check-{name}")
            offsets = [reader.take(client.receive()) for _ in range(count)]
            reader.stop()
            assert offsets == list(range(offsets[0], offsets[0] + count)) if offsets else not known[name]
            check_stream(name, model.queues[name], known[name], offsets)
    with Client(port) as client:
        check_queue(WORK, model.queues[WORK], read_all(client, WORK))
        client.close()  # what was read goes back


def check_stream(name: str, queue: QueueModel, known: dict[int, bytes], offsets: list[int]) -> None:
    bodies = [known[offset] for offset in offsets]
    there = set(bodies)
    assert len(there) == len(bodies), f"{name}: a message is there twice"
    strange = there - queue.sent.keys()
    assert not strange, f"{name}: nobody sent {shown(strange)}"
    last: dict[bytes, int] = {}
    for body in bodies:
        publisher, number = publisher_of(body), number_of(body)
        assert number > last.get(publisher, -1), f"{name}: out of order at {shown([body])}"
        last[publisher] = number
    newest = offsets[-1] if offsets else -1
    assert max(known, default=-1) <= newest, f"{name}: offset {max(known)} was there, and is lost"
    lost = queue.confirmed - there
    if name == SHORT and lost:
        # One publisher, round after round: what retention dropped is the oldest.
        order = {body: place for place, body in enumerate(queue.sent)}
        oldest = min(order[body] for body in there)
        lost = {body for body in lost if order[body] > oldest}
        assert sum(len(body) for body in bodies) >= SHORT_BYTES, f"{name}: retention dropped too much"
    assert not lost, f"{name}: confirmed and lost: {shown(lost)}"


@pytest.mark.timeout(60 + 60 * ROUNDS)
def test_what_was_confirmed_keeps_its_offset_after_kill_9_at_any_moment(
    make_broker: Callable[..., BrokerProcess],
) -> None:
    print(f"AMQPD_CRASH_SEED={SEED}")
    chance = random.Random(SEED)
    # Small windows, so that readers that lag behind read pages.
    broker = make_broker({"limits": {"queue_window_bytes": "256KiB", "queue_windows_bytes": "1MiB"}})
    model = Model({name: QueueModel() for name in (LOG, SHORT, WORK)})
    known: dict[str, dict[int, bytes]] = {LOG: {}, SHORT: {}}
    broker.start()
    with Client(broker.port) as client:
        client.send(commands.Exchange.Declare(exchange=FANOUT, exchange_type="fanout", durable=True))
        client.wait(commands.Exchange.DeclareOk)
        for name in (LOG, SHORT, WORK):
            client.declare(name, arguments=ARGUMENTS.get(name))
            client.bind(name, FANOUT)
    for number in range(ROUNDS):
        load = StreamLoad(broker.port, model, number, chance)
        load.known = known
        load.start()
        time.sleep(chance.uniform(0.0, 0.6))  # the moment is what is tested
        broker.kill()
        load.join()
        broker.start()
        check(broker.port, model, known)
    broker.stop()
    # The test is worth something only when there was something to lose, and to read.
    counts = {name: (len(model.queues[name].confirmed), len(known[name])) for name in known}
    print(counts)
    assert all(min(pair) > 20 * ROUNDS for pair in counts.values()), counts
    assert "Traceback" not in broker.log()

"""A real process is killed while messages expire into another queue: each is there once when it is back."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable

import pytest
from pamqp import commands

from tests.process.broker_process import BrokerProcess, eventually
from tests.process.client import Client

ROUNDS = 5
MESSAGES = 400
SEED = random.SystemRandom().randrange(1 << 30)


def declare(client: Client) -> None:
    client.declare("target")
    client.send(
        commands.Queue.Declare(
            queue="source",
            durable=True,
            arguments={
                "x-message-ttl": 30,
                "x-dead-letter-exchange": "",
                "x-dead-letter-routing-key": "target",
            },
        )
    )
    client.wait(commands.Queue.DeclareOk)


@pytest.mark.timeout(60 + 20 * ROUNDS)
def test_an_expired_message_is_in_one_queue_whenever_the_broker_is_killed(
    make_broker: Callable[..., BrokerProcess],
) -> None:
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    broker = make_broker()
    broker.start()
    moved_before_kill = 0
    for number in range(ROUNDS):
        confirmed: list[bytes] = []
        published: list[bytes] = []
        with Client(broker.port) as client:
            declare(client)
            client.confirm_select()
            end = time.monotonic() + chance.uniform(0.02, 0.3)  # the moment is what is tested
            while not published or (time.monotonic() < end and len(published) < MESSAGES):
                for _ in range(10):
                    published.append(b"%d-%d" % (number, len(published)))
                    client.publish("source", published[-1])
                client.wait_confirms()
                confirmed = list(published)
            if number == ROUNDS - 1:  # once at least there must be something that moved
                eventually(lambda client=client: client.count("target") > 0, "a message has moved")  # type: ignore[misc]
            moved_before_kill += client.count("target")
            broker.kill()
        broker.start()
        with Client(broker.port) as client:
            eventually(lambda client=client: client.count("source") == 0, "the source is empty")  # type: ignore[misc]
            found = Counter(message.body for message in client.drain("target"))
        assert set(confirmed) <= set(found) <= set(published)
        assert set(found.values()) <= {1}
    broker.stop()
    assert moved_before_kill > 0
    assert "Traceback" not in broker.log()

"""Whatever is committed when the broker dies: no value is there twice, and each that was confirmed is there."""

from __future__ import annotations

from random import Random

import pytest

from tests.support.linked import Linked, LinkedClient

from .broker import DISK, KIND, again, send, started

QUEUE = {"x-message-deduplication": True}


class Publisher:
    """Publishes with confirms; ``confirmed``: the keys of those that were."""

    def __init__(self, client: LinkedClient, confirmed: set[int]) -> None:
        self.client = client
        self.confirmed = confirmed
        self.sent: list[int] = []
        client.call("confirm.select")

    def send(self, exchange: str, key: int) -> None:
        self.sent.append(key)
        send(self.client, exchange, key, b"%d" % key)

    def listen(self) -> None:
        for came in self.client.received():
            assert came.name == "basic.ack"
            tag = came.values["delivery_tag"]
            self.confirmed.update(self.sent[:tag] if came.values["multiple"] else self.sent[tag - 1 : tag])


def go_on(random: Random, linked: Linked) -> None:
    """The store gets somewhere, or not."""
    if random.random() < 0.3:
        linked.take()
    if linked.batch is not None and random.random() < 0.3:
        linked.write()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("exchange", ["", "x"])
def test_no_value_is_lost_or_there_twice(exchange: str, seed: int) -> None:
    random = Random(seed)
    linked, client = started()
    client.call("exchange.declare", exchange="x", type=KIND, durable=True, arguments={**DISK, "x-cache-size": 1000})
    client.call("queue.declare", queue="q", durable=True, arguments={} if exchange else QUEUE)
    client.call("queue.bind", queue="q", exchange="x")
    confirmed: set[int] = set()
    for _ in range(8):
        publishers = [Publisher(linked.client(), confirmed) for _ in range(2)]
        for _ in range(random.randrange(60)):
            random.choice(publishers).send(exchange, random.randrange(120))
            go_on(random, linked)
            for publisher in publishers:
                publisher.listen()
        linked, client = again(linked, crash=random.random() < 0.8)
    there = [int(body) for body in client.taken()]
    assert len(there) == len(set(there))
    assert confirmed <= set(there)
    assert len(confirmed) > 20


@pytest.mark.parametrize("seed", range(6))
def test_a_queue_that_is_consumed(seed: int) -> None:
    """Acknowledged values come again; what is in the queue after a crash is what its keys say."""
    random = Random(seed)
    linked, client = started()
    client.call("queue.declare", queue="q", durable=True, arguments=QUEUE)
    for _ in range(8):
        tags: list[int] = []
        for _ in range(random.randrange(80)):
            action = random.random()
            if action < 0.5:
                send(client, "", key := random.randrange(12), b"%d" % key)
            elif action < 0.7:
                client.send("basic.get", queue="q")
            elif tags:
                client.send("basic.ack", delivery_tag=tags.pop(random.randrange(len(tags))))
            tags += [came.values["delivery_tag"] for came in client.received() if came.name == "basic.get-ok"]
            go_on(random, linked)
        linked, client = again(linked, crash=random.random() < 0.8)
        held = linked.broker.vhosts["/"].queues["q"].message_count()
        for key in range(12):
            send(client, "", key, b"%d" % key)
        linked.settle()
        found = [int(body) for body in client.taken()]
        assert sorted(found) == list(range(12))
        assert held <= 12

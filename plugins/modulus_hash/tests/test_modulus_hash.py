"""One destination for each message, by its keys."""

from __future__ import annotations

from collections import Counter

from amqpd.store.memory import MemoryStore
from amqpd_modulus_hash import KIND, place, register
from tests.support.linked import Linked, LinkedClient

QUEUES = ("c", "a", "b")


def bound(client: LinkedClient) -> None:
    client.call("exchange.declare", exchange="x", type=KIND, durable=True)
    for queue in QUEUES:
        client.call("queue.declare", queue=queue, durable=True)
        client.call("queue.bind", queue=queue, exchange="x", routing_key=f"ignored {queue}")


def counts(linked: Linked) -> list[int]:
    return [queue.message_count() for _, queue in sorted(linked.broker.vhosts["/"].queues.items())]


def test_places_are_even() -> None:
    found = Counter(place([f"key {number}"], 5) for number in range(20_000))
    assert all(abs(found[number] - 4000) < 250 for number in range(5)), found


def test_keys_do_not_run_into_each_other() -> None:
    assert len({place(keys, 1 << 60) for keys in (["ab", "c"], ["a", "bc"], ["abc"], ["abc", ""])}) == 4


def test_a_key_has_its_queue_also_after_a_restart() -> None:
    linked = Linked(MemoryStore(), plugins=[register])
    client = linked.client()
    bound(client)
    for number in range(300):
        client.publish("x", str(number % 30), b"m")
    before = counts(linked)
    assert sum(before) == 300
    assert all(count and count % 10 == 0 for count in before)
    linked.stop()
    assert isinstance(linked.store, MemoryStore)
    linked = Linked(MemoryStore(linked.store.disk), plugins=[register])
    client = linked.client()
    for number in range(300):
        client.publish("x", str(number % 30), b"m")
    assert counts(linked) == before


def test_cc_belongs_to_the_hash_and_one_queue_gets_it() -> None:
    linked = Linked(plugins=[register])
    client = linked.client()
    bound(client)
    for number in range(100):
        client.publish("x", "same", b"m", {"headers": {"CC": [str(number)]}})
    assert sum(counts(linked)) == 100
    assert min(counts(linked)) > 10


def test_nothing_bound_is_nowhere_to_go() -> None:
    linked = Linked(plugins=[register])
    client = linked.client()
    client.call("exchange.declare", exchange="x", type=KIND)
    client.publish("x", "k", b"m", mandatory=True)
    assert client.names() == ["basic.return"]
    client.call("queue.declare", queue="q")
    client.call("queue.bind", queue="q", exchange="x", routing_key="")
    client.call("queue.unbind", queue="q", exchange="x", routing_key="")
    client.publish("x", "k", b"m", mandatory=True)
    assert client.names() == ["basic.return"]


def test_places_are_what_they_always_were() -> None:
    """A change here would move the messages of every broker that is upgraded."""
    assert [place([str(number)], 7) for number in range(12)] == [4, 1, 1, 1, 2, 4, 1, 3, 4, 2, 4, 6]
    assert place(["a", "b"], 1 << 60) == 228917086656392542


def test_a_queue_bound_twice_counts_twice_until_it_is_unbound() -> None:
    linked = Linked(plugins=[register])
    client = linked.client()
    bound(client)
    client.call("queue.bind", queue="a", exchange="x", routing_key="again")
    client.call("queue.unbind", queue="b", exchange="x", routing_key="ignored b")
    for number in range(600):
        client.publish("x", str(number), b"m")
    assert counts(linked)[1] == 0
    assert abs(counts(linked)[0] - 400) < 50
    assert sum(counts(linked)) == 600
    client.call("queue.unbind", queue="a", exchange="x", routing_key="again")
    client.call("queue.unbind", queue="a", exchange="x", routing_key="ignored a")
    client.call("queue.purge", queue="a")
    client.call("queue.purge", queue="c")
    for number in range(50):
        client.publish("x", str(number), b"m")
    assert counts(linked) == [0, 0, 50]


def test_neither_the_order_of_bindings_nor_their_keys_matter() -> None:
    found = []
    for names, key in (("abc", "1"), ("bca", "2")):
        linked = Linked(plugins=[register])
        client = linked.client()
        client.call("exchange.declare", exchange="x", type=KIND)
        for queue in names:
            client.call("queue.declare", queue=queue)
            client.call("queue.bind", queue=queue, exchange="x", routing_key=key)
        for number in range(100):
            client.publish("x", str(number), b"m")
        found.append(counts(linked))
    assert found[0] == found[1]

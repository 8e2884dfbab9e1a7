"""A vhost: bindings go with their ends, auto-delete exchanges with their last binding."""

from __future__ import annotations

from itertools import pairwise

from amqpd.broker.exchange import Exchange
from tests.queues.building import Bench, FakeChannel, consumer, message


def exchange(bench: Bench, name: str, durable: bool = True, auto_delete: bool = False) -> Exchange:
    return bench.vhost.declare_exchange(name, "fanout", durable, auto_delete, False, {})


def test_binding_twice_changes_nothing() -> None:
    bench = Bench()
    source, queue = exchange(bench, "x"), bench.queue()
    bench.vhost.bind(source, queue, "key", {})
    bench.commit()
    revision = bench.vhost.revision.value
    bench.vhost.bind(source, queue, "key", {})
    assert (len(source.bindings), bench.vhost.revision.value) == (1, revision)
    assert bench.journal.empty()


def test_unbinding_what_is_not_bound_is_no_error() -> None:
    bench = Bench()
    source = exchange(bench, "x", auto_delete=True)
    bench.vhost.unbind(source, bench.queue(), "key", {})
    assert "x" in bench.vhost.exchanges


def test_every_change_of_topology_is_a_new_revision() -> None:
    bench = Bench()
    vhost = bench.vhost
    seen = [int(vhost.revision.value)]
    source = exchange(bench, "x")
    seen.append(int(vhost.revision.value))
    queue = bench.queue()
    seen.append(int(vhost.revision.value))
    vhost.bind(source, queue, "", {})
    seen.append(int(vhost.revision.value))
    vhost.unbind(source, queue, "", {})
    seen.append(int(vhost.revision.value))
    vhost.delete_queue(queue)
    seen.append(int(vhost.revision.value))
    vhost.delete_exchange(source)
    seen.append(int(vhost.revision.value))
    assert len(set(seen)) == len(seen)
    assert seen == sorted(seen)


def test_bindings_go_with_the_queue_and_from_the_store() -> None:
    bench = Bench()
    source, queue = exchange(bench, "x"), bench.queue()
    for key in "ab":
        bench.vhost.bind(source, queue, key, {})
    bench.commit()
    assert len(bench.disk.definitions["binding"]) == 2
    bench.vhost.delete_queue(queue)
    bench.commit()
    assert not source.bindings
    assert not bench.vhost.bound
    assert not bench.disk.definitions["binding"]


def test_bindings_go_with_the_exchange_on_either_end() -> None:
    bench = Bench()
    first, middle, last = (exchange(bench, name) for name in "abc")
    bench.vhost.bind(first, middle, "", {})
    bench.vhost.bind(middle, last, "", {})
    bench.vhost.bind(middle, middle, "", {})
    bench.vhost.delete_exchange(middle)
    bench.commit()
    assert not first.bindings
    assert not bench.vhost.bound
    assert not bench.disk.definitions["binding"]


def test_a_binding_is_stored_only_when_both_ends_are_durable() -> None:
    bench = Bench()
    for durable_source in (True, False):
        for durable_queue in (True, False):
            source = exchange(bench, f"x{durable_source}{durable_queue}", durable=durable_source)
            bench.vhost.bind(source, bench.queue(source.name, durable=durable_queue), "", {})
    bench.commit()
    assert [key[1] for key in bench.disk.definitions["binding"]] == ["xTrueTrue"]


def test_an_auto_delete_exchange_goes_with_its_last_binding() -> None:
    bench = Bench()
    source, queue = exchange(bench, "x", auto_delete=True), bench.queue()
    for key in "ab":
        bench.vhost.bind(source, queue, key, {})
    bench.vhost.unbind(source, queue, "a", {})
    assert "x" in bench.vhost.exchanges
    bench.vhost.unbind(source, queue, "b", {})
    assert "x" not in bench.vhost.exchanges


def test_auto_deletion_runs_up_the_chain_and_stops_at_one_that_is_still_bound() -> None:
    bench = Bench()
    names = ("a", "b", "c", "d")
    chain = [exchange(bench, name, auto_delete=True) for name in names]
    for upper, lower in pairwise(chain):
        bench.vhost.bind(upper, lower, "", {})
    queue, other = bench.queue(), bench.queue("other")
    bench.vhost.bind(chain[-1], queue, "", {})
    bench.vhost.bind(chain[1], other, "", {})
    bench.vhost.delete_queue(queue)
    assert [name for name in names if name in bench.vhost.exchanges] == ["a", "b"]
    bench.vhost.delete_queue(other)
    assert [name for name in names if name in bench.vhost.exchanges] == []
    bench.commit()
    assert not bench.disk.definitions["exchange"]


def test_exchanges_bound_in_a_circle_are_deleted_once() -> None:
    bench = Bench()
    first, second = (exchange(bench, name, auto_delete=True) for name in "ab")
    bench.vhost.bind(first, second, "", {})
    bench.vhost.bind(second, first, "", {})
    bench.vhost.delete_exchange(first)
    assert not {"a", "b"} & set(bench.vhost.exchanges)
    assert not bench.vhost.bound


def test_the_last_consumer_takes_an_auto_delete_queue_and_its_exchange_along() -> None:
    bench = Bench()
    source, queue = exchange(bench, "x", auto_delete=True), bench.queue(auto_delete=True)
    bench.vhost.bind(source, queue, "", {})
    one = consumer(queue, FakeChannel())
    queue.consume(one)
    bench.vhost.lost_consumer(one)
    assert "q" not in bench.vhost.queues
    assert "x" not in bench.vhost.exchanges
    bench.vhost.lost_consumer(one)  # told twice: no harm


def test_a_queue_of_the_same_name_is_another_queue() -> None:
    bench = Bench()
    first = bench.queue()
    first.publish(message(b"old"))
    bench.commit()
    bench.vhost.delete_queue(first)
    second = bench.queue()
    second.publish(message(b"new"))
    bench.commit()
    assert first.id != second.id
    assert [row[4] for row in bench.disk.durable.messages.values()] == [b"new"]
    assert list(bench.disk.definitions["queue"]) == [(second.id,)]


def test_reply_queues_are_routable_and_not_listed() -> None:
    bench = Bench()
    name = "amq.rabbitmq.reply-to.one"
    bench.vhost.reply_queues[name] = queue = bench.queue("plain")
    assert bench.vhost.routable(name) is queue
    assert bench.vhost.routable("amq.rabbitmq.reply-to.two") is None
    assert name not in bench.vhost.queues

"""The broker: turns, batches, alarms, vhosts, restore."""

from __future__ import annotations

import pytest

from amqpd.broker.broker import ConnectionPort
from amqpd.queues.classic import ClassicQueue
from amqpd.queues.ready import FifoReady
from tests.queues.building import Bench, FakeChannel, consumer, message, numbered


class FakeConnection(ConnectionPort):
    def __init__(self, vhost: str = "/") -> None:
        self.vhost = vhost
        self.alarms: list[str] = []
        self.rooms = 0
        self.closed = ""

    def alarm_changed(self, reason: str) -> None:
        self.alarms.append(reason)

    def room_again(self) -> None:
        self.rooms += 1

    def force_close(self, text: str) -> None:
        self.closed = text

    def vhost_name(self) -> str:
        return self.vhost


def test_connections_hear_of_the_first_alarm_the_second_and_the_end_of_both() -> None:
    broker = Bench().broker
    connection = broker.connections[1] = FakeConnection()
    broker.set_alarm("memory", True)
    broker.set_alarm("memory", True)
    broker.set_alarm("disk", True)
    broker.set_alarm("memory", False)
    broker.set_alarm("disk", False)
    assert connection.alarms == ["low on memory", "low on memory & disk", "low on disk", ""]


def test_an_alarm_that_was_not_on_goes_off_silently() -> None:
    broker = Bench().broker
    connection = broker.connections[1] = FakeConnection()
    broker.set_alarm("disk", False)
    assert not connection.alarms


def test_a_throttled_connection_goes_on_after_the_commit() -> None:
    bench = Bench()
    connection = FakeConnection()
    bench.queue()
    bench.broker.throttled[connection] = True
    batch = bench.broker.take_batch()
    assert connection.rooms == 0
    bench.write(batch)
    assert connection.rooms == 1


def test_a_throttled_connection_goes_on_when_the_full_batch_is_sealed() -> None:
    bench = Bench()
    journal = bench.broker.journal
    journal.open_bytes_max = 1000
    queue = bench.queue()
    under_way = bench.broker.take_batch()
    while not journal.full():
        queue.publish(message())
    connection = FakeConnection()
    bench.broker.throttled[connection] = True
    bench.write(under_way)
    assert connection.rooms == 0  # what was full while the other batch was written is full still
    bench.broker.take_batch()
    assert connection.rooms == 1


def test_a_throttled_connection_goes_on_when_there_was_nothing_to_write() -> None:
    bench = Bench()
    queue = bench.queue()
    bench.commit()
    queue.publish(message())
    entry = queue.get()
    assert entry is not None
    queue.settle(entry)
    connection = FakeConnection()
    bench.broker.throttled[connection] = True
    assert bench.broker.take_batch() is None
    assert connection.rooms == 1


def test_whoever_waits_for_a_page_goes_on_when_it_came_or_its_queue_went() -> None:
    for delete in (False, True):
        bench = Bench(window=0)
        queue = bench.queue()
        for body in numbered(3):
            queue.publish(message(body))
        bench.commit()
        assert queue.get() is None
        connection = FakeConnection()
        bench.broker.waiting_for_page[connection] = True
        if delete:
            bench.vhost.delete_queue(queue)
        bench.read_pages()
        bench.broker.run_turn()
        assert connection.rooms == 1


def test_no_batch_while_there_is_nothing_to_write() -> None:
    bench = Bench()
    assert bench.broker.take_batch() is None
    bench.queue(durable=False).publish(message())
    assert bench.broker.take_batch() is None


def test_a_deleted_queue_is_not_pumped() -> None:
    bench = Bench()
    queue = bench.queue()
    channel = FakeChannel()
    queue.publish(message())
    queue.consume(consumer(queue, channel))
    bench.vhost.delete_queue(queue)
    bench.broker.run_turn()
    assert not channel.got


def test_a_vhost_exists_once() -> None:
    broker = Bench().broker
    broker.create_vhost("other")
    with pytest.raises(ValueError, match="exists already"):
        broker.create_vhost("other")


def test_deleting_a_vhost_closes_its_connections_only() -> None:
    broker = Bench().broker
    broker.create_vhost("other")
    broker.connections[1] = here = FakeConnection("other")
    broker.connections[2] = there = FakeConnection("/")
    broker.delete_vhost("other")
    assert here.closed == "vhost 'other' is deleted"
    assert not there.closed
    with pytest.raises(ValueError, match="does not exist"):
        broker.delete_vhost("other")


def test_a_deleted_vhost_leaves_nothing_in_the_store() -> None:
    bench = Bench()
    vhost = bench.broker.create_vhost("other")
    queue = vhost.declare_queue("q", "classic", True, False, None, {})
    vhost.bind(vhost.declare_exchange("x", "fanout", True, False, False, {}), queue, "", {})
    queue.publish(message())
    bench.commit()
    bench.broker.delete_vhost("other")
    bench.commit()
    assert list(bench.disk.definitions["vhost"]) == [("/",)]
    for kind in ("queue", "exchange", "binding"):
        assert not bench.disk.definitions[kind]
    assert not bench.disk.durable.messages


@pytest.mark.parametrize("clean", [True, False])
def test_durable_topology_comes_back_and_the_rest_does_not(clean: bool) -> None:
    bench = Bench()
    vhost = bench.vhost
    fan = vhost.declare_exchange("fan", "fanout", True, True, True, {})
    topic = vhost.declare_exchange("topic", "topic", True, False, False, {})
    vhost.declare_exchange("gone", "direct", False, False, False, {})
    queue = bench.queue("kept", auto_delete=True)
    vhost.bind(fan, queue, "", {})
    vhost.bind(topic, fan, "a.*", {})
    vhost.bind(fan, bench.queue("lost", durable=False), "", {})
    bench.commit()
    identity = queue.id
    again = bench.reopened(clean).vhost
    assert set(again.queues) == {"kept"}
    assert (again.queues["kept"].id, again.queues["kept"].auto_delete) == (identity, True)
    assert "gone" not in again.exchanges
    assert (again.exchanges["fan"].auto_delete, again.exchanges["fan"].internal) == (True, True)
    assert [one.destination.name for one in again.exchanges["fan"].bindings.values()] == ["kept"]
    assert [one.routing_key for one in again.exchanges["topic"].bindings.values()] == ["a.*"]


def test_a_start_without_changes_writes_nothing() -> None:
    bench = Bench()
    bench.queue().publish(message())
    bench.commit()
    again = bench.reopened(clean=False)
    assert again.broker.take_batch() is None


def test_what_was_not_committed_is_gone_and_its_queue_too() -> None:
    bench = Bench()
    bench.queue("kept").publish(message(b"kept"))
    bench.commit()
    bench.queue("lost")
    bench.vhost.queues["kept"].publish(message(b"lost"))
    bench.broker.take_batch()
    again = bench.reopened(clean=False)
    assert set(again.vhost.queues) == {"kept"}
    queue = again.vhost.queues["kept"]
    assert isinstance(queue, ClassicQueue)
    assert [entry.message.body for entry in again.drain(queue)] == [b"kept"]


def test_a_message_flagged_by_a_crash_stays_flagged_after_a_clean_restart() -> None:
    bench = Bench()
    bench.queue().publish(message())
    bench.commit()
    queue = bench.reopened(clean=False).reopened(clean=True).vhost.queues["q"]
    assert isinstance(queue, ClassicQueue)
    assert isinstance(queue.ready, FifoReady)
    assert queue.ready.restored.redelivered_up_to > 0

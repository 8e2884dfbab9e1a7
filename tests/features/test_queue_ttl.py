"""Queue TTL: what renews it, what stops it, and what goes with the queue."""

from __future__ import annotations

from amqpd.queues.classic import ClassicQueue
from tests.queues.building import Bench, FakeChannel, consumer, message
from tests.support.linked import Linked, LinkedClient

TTL = 100


def leased(bench: Bench, ttl: int = TTL) -> ClassicQueue:
    queue = bench.queue()
    queue.settings["expires"] = ttl
    queue.reconfigure(bench.broker.registry.queue_features)
    return queue


def after(bench: Bench, milliseconds: int) -> None:
    bench.broker.now += milliseconds
    bench.broker.tick(bench.broker.now)
    bench.broker.run_turn()


def declare(client: LinkedClient, **arguments: object) -> None:
    client.call("queue.declare", queue="q", arguments={"x-expires": TTL, **arguments})


def exists(linked: Linked) -> bool:
    return "q" in linked.broker.vhosts["/"].queues


def test_an_unused_queue_is_deleted() -> None:
    bench = Bench()
    queue = leased(bench)
    after(bench, TTL - 1)
    assert not queue.deleted
    after(bench, 1)
    assert queue.deleted
    assert "q" not in bench.vhost.queues
    assert bench.broker.next_deadline() == 0


def test_a_get_a_declare_and_a_passive_declare_renew_it() -> None:
    linked = Linked()
    client = linked.client()
    declare(client)
    for use in (
        lambda: client.call("queue.declare", queue="q", arguments={"x-expires": TTL}),
        lambda: client.call("queue.declare", queue="q", passive=True),
        lambda: client.send("basic.get", queue="q"),
    ):
        linked.advance(TTL - 1)
        use()
    assert client.names() == ["basic.get-empty"]
    linked.advance(TTL - 1)
    assert exists(linked)
    linked.advance(1)
    assert not exists(linked)


def test_a_publish_and_a_purge_do_not_renew_it() -> None:
    linked = Linked()
    client = linked.client()
    declare(client)
    linked.advance(TTL - 1)
    client.publish("", "q", b"a")
    client.call("queue.purge", queue="q")
    linked.advance(1)
    assert not exists(linked)


def test_a_consumer_keeps_it_and_the_time_begins_when_the_last_one_goes() -> None:
    bench = Bench()
    queue = leased(bench)
    one = consumer(queue, FakeChannel())
    queue.consume(one)
    after(bench, 5 * TTL)
    assert not queue.deleted
    queue.cancel(one)
    after(bench, TTL - 1)
    assert not queue.deleted
    after(bench, 1)
    assert queue.deleted


def test_a_lost_connection_begins_the_time() -> None:
    linked = Linked()
    client = linked.client()
    declare(client)
    client.call("basic.consume", queue="q")
    linked.advance(3 * TTL)
    client.hang_up()
    linked.advance(TTL - 1)
    assert exists(linked)
    linked.advance(1)
    assert not exists(linked)


def test_renewing_sets_no_timer() -> None:
    bench = Bench()
    queue = leased(bench)
    first = bench.broker.next_deadline()
    for _ in range(50):
        bench.broker.now += 1
        queue.get()
    assert bench.broker.next_deadline() == first
    after(bench, TTL - 50)
    assert not queue.deleted
    after(bench, 50)
    assert queue.deleted


def test_a_use_between_the_timer_and_the_end_of_the_turn_saves_it() -> None:
    bench = Bench()
    queue = leased(bench)
    bench.broker.now += TTL
    bench.broker.tick(bench.broker.now)
    queue.redeclared()
    bench.broker.run_turn()
    assert not queue.deleted
    after(bench, TTL)
    assert queue.deleted


def test_a_delete_before_the_end_of_the_turn_is_enough() -> None:
    bench = Bench()
    queue = leased(bench)
    bench.broker.now += TTL
    bench.broker.tick(bench.broker.now)
    bench.vhost.delete_queue(queue)
    bench.broker.run_turn()
    assert "q" not in bench.vhost.queues


def test_its_messages_go_with_it_and_are_no_dead_letters() -> None:
    bench = Bench()
    queue = leased(bench)
    queue.dead_letters = True
    for _ in range(3):
        queue.publish(message())
    bench.commit()
    in_flight = queue.get()
    assert in_flight is not None
    after(bench, TTL)
    bench.commit()
    assert queue.deleted
    assert not bench.shard.letters
    assert not bench.disk.durable.messages
    assert not bench.disk.definitions["queue"]


def test_a_change_of_settings_begins_the_time_anew_and_one_that_goes_ends_it() -> None:
    bench = Bench()
    queue = leased(bench)
    after(bench, TTL - 1)
    queue.settings["expires"] = TTL
    queue.reconfigure(bench.broker.registry.queue_features)
    after(bench, TTL - 1)
    assert not queue.deleted
    del queue.settings["expires"]
    queue.reconfigure(bench.broker.registry.queue_features)
    after(bench, 10 * TTL)
    assert not queue.deleted


def test_a_restart_begins_the_time_of_a_durable_queue_anew() -> None:
    linked = Linked()
    client = linked.client()
    client.call("queue.declare", queue="q", durable=True, arguments={"x-expires": TTL})
    linked.commit()
    linked.advance(TTL - 1)
    linked.crash()
    again = Linked(linked.store, linked.broker.now + 10 * TTL)
    again.advance(TTL - 1)
    assert exists(again)
    again.advance(1)
    assert not exists(again)

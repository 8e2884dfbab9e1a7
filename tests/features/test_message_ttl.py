"""Message TTL on one queue with a fake clock, and on the wire."""

from __future__ import annotations

import pytest

from amqpd.broker.letters import EXPIRED
from amqpd.broker.message import Entry
from amqpd.broker.queue import NACKED
from amqpd.queues import classic
from amqpd.queues.classic import ClassicQueue
from amqpd.queues.deadlines import STALE_MAX
from amqpd.queues.ready import FifoReady
from tests.queues.building import Bench, FakeChannel, bodies, consumer, expiring, message, numbered
from tests.support.linked import Linked, LinkedClient

WINDOW = 1100  # two messages of the size used here
BODY = b"." * 100


def queue_with(bench: Bench, ttl: int | None = None, durable: bool = True) -> ClassicQueue:
    queue = bench.queue(durable=durable)
    if ttl is not None:
        queue.settings["message-ttl"] = ttl
        queue.reconfigure(bench.broker.registry.queue_features)
    return queue


def after(bench: Bench, milliseconds: int) -> None:
    """Let time pass, as the edge does: it wakes the broker at its deadlines."""
    end = bench.broker.now + milliseconds
    while 0 < (deadline := bench.broker.next_deadline()) <= end:
        bench.broker.now = max(bench.broker.now, deadline)
        bench.broker.tick(bench.broker.now)
        bench.broker.run_turn()
    bench.broker.now = end


def put(bench: Bench, queue: ClassicQueue, *ttls: int | None, persistent: bool = True) -> None:
    """One message each, ``None`` without expiration; bodies are numbered."""
    for body, ttl in zip(numbered(len(ttls)), ttls, strict=True):
        queue.publish(message(body, persistent) if ttl is None else expiring(b"%d" % ttl, body, persistent))
    bench.broker.run_turn()


def read_all(bench: Bench) -> None:
    while True:
        bench.commit()
        bench.broker.run_turn()
        if not bench.read_pages() and bench.broker.take_batch() is None:
            return
        bench.broker.run_turn()


def taken(queue: ClassicQueue) -> Entry:
    entry = queue.get()
    assert entry is not None
    return entry


def lane(queue: ClassicQueue) -> FifoReady:
    assert isinstance(queue.ready, FifoReady)
    return queue.ready


# One queue


@pytest.mark.parametrize(
    ("ttl", "expiration", "lasts"), [(50, None, 50), (None, 50, 50), (50, 80, 50), (80, 50, 50), (0, 80, 0)]
)
def test_the_smaller_of_both_holds(ttl: int | None, expiration: int | None, lasts: int) -> None:
    bench = Bench()
    queue = queue_with(bench, ttl)
    put(bench, queue, expiration)
    if lasts:
        after(bench, lasts - 1)
        assert queue.message_count() == 1
        after(bench, 1)
    assert queue.message_count() == 0


@pytest.mark.parametrize("text", [b"+5", b"05", b"5"])
def test_expiration_is_read_as_a_decimal_number(text: bytes) -> None:
    bench = Bench()
    queue = queue_with(bench)
    queue.publish(expiring(text))
    bench.broker.run_turn()
    assert bench.broker.next_deadline() == bench.broker.now + 5


def test_a_message_expires_behind_one_that_stays() -> None:
    bench = Bench()
    queue = queue_with(bench)
    put(bench, queue, None, 60_000, 50, None, 40)
    after(bench, 50)
    assert queue.message_count() == 3
    assert bodies(bench.drain(queue)) == [numbered(5)[index] for index in (0, 1, 3)]


def test_a_ttl_of_0_reaches_waiting_consumers_only() -> None:
    bench = Bench()
    queue = queue_with(bench, 0)
    channel = FakeChannel(1)
    queue.consume(consumer(queue, channel))
    put(bench, queue, None, None)
    assert channel.bodies() == numbered(1)
    assert queue.message_count() == 0


def test_a_ttl_of_0_reaches_a_consumer_though_the_clock_moved_before_the_turn() -> None:
    bench = Bench()
    queue = queue_with(bench, 0)
    channel = FakeChannel()
    queue.consume(consumer(queue, channel))
    queue.publish(message())
    bench.broker.now += 3
    bench.broker.run_turn()
    assert channel.bodies() == [b"body"]


def test_a_ttl_of_0_waits_until_all_deliveries_of_a_long_pump_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classic, "PUMP_MAX", 2)
    bench = Bench()
    queue = queue_with(bench, 0)
    channel = FakeChannel()
    queue.consume(consumer(queue, channel))
    put(bench, queue, None, None, None)
    bench.broker.run_turn()
    assert channel.bodies() == numbered(3)


def test_basic_get_in_the_same_turn_does_not_see_a_ttl_of_0() -> None:
    bench = Bench()
    queue = queue_with(bench)
    queue.publish(expiring(b"0"))
    assert queue.get() is None


def test_an_expired_message_is_not_got_though_no_timer_fired_yet() -> None:
    bench = Bench()
    queue = queue_with(bench, 50)
    put(bench, queue, None)
    bench.broker.now += 51
    assert queue.get() is None
    assert not queue.loading()


def test_a_requeued_message_keeps_its_deadline() -> None:
    bench = Bench()
    queue = queue_with(bench, 50)
    put(bench, queue, None, None)
    entry = taken(queue)
    after(bench, 30)
    queue.requeue(entry, NACKED)
    after(bench, 19)
    assert queue.message_count() == 2
    after(bench, 1)
    assert queue.message_count() == 0


def test_one_that_expired_in_flight_is_dead_when_it_comes_back_and_can_be_acknowledged_before() -> None:
    bench = Bench()
    queue = queue_with(bench, 50)
    channel = FakeChannel()
    put(bench, queue, None, None)
    first, second = taken(queue), taken(queue)
    after(bench, 100)
    queue.consume(consumer(queue, channel))
    queue.settle(first)
    queue.requeue(second, NACKED)
    bench.broker.run_turn()
    assert channel.bodies() == []
    assert (queue.message_count(), queue.unacked_count()) == (0, 0)
    bench.commit()
    assert not bench.disk.durable.messages


def test_the_timer_is_not_touched_by_messages_that_expire_later() -> None:
    bench = Bench()
    queue = queue_with(bench, 50)
    put(bench, queue, None)
    for _ in range(5):
        bench.broker.now += 1
        put(bench, queue, None)
    assert bench.broker.next_deadline() == bench.broker.now - 5 + 50
    after(bench, 50)
    assert queue.message_count() == 0
    assert bench.broker.next_deadline() == 0


def test_a_queue_without_deadlines_takes_no_part() -> None:
    bench = Bench()
    queue = queue_with(bench)
    put(bench, queue, None)
    assert (queue.stamping, queue.pumped, queue.entering) == ([], [], [])


def test_a_new_setting_is_not_retroactive_and_one_that_goes_leaves_deadlines() -> None:
    bench = Bench()
    queue = queue_with(bench)
    put(bench, queue, None)
    queue.settings["message-ttl"] = 50
    queue.reconfigure(bench.broker.registry.queue_features)
    put(bench, queue, None)
    del queue.settings["message-ttl"]
    queue.reconfigure(bench.broker.registry.queue_features)
    put(bench, queue, None)
    assert queue.message_count() == 3
    after(bench, 50)
    assert queue.message_count() == 2


def test_dead_letters_keep_the_order_of_the_queue() -> None:
    bench = Bench()
    queue = queue_with(bench)
    queue.dead_letters = True
    bench.broker.registry.letter_handler = None
    put(bench, queue, 50, None, 30, 40)
    bench.broker.now += 60
    bench.broker.tick(bench.broker.now)
    bench.broker.run_turn()
    letters = [(letter.entry.message.body, letter.reason) for letter in bench.shard.letters]
    assert letters == [(numbered(4)[index], EXPIRED) for index in (0, 2, 3)]


def test_while_letters_wait_nothing_expires_and_nothing_expired_is_delivered(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    queue = queue_with(bench)
    queue.dead_letters = True
    channel = FakeChannel()
    put(bench, queue, 50, None)
    bench.journal.open_bytes = bench.journal.open_bytes_max + 1
    bench.broker.now += 60
    queue.consume(consumer(queue, channel))
    bench.broker.tick(bench.broker.now)
    bench.broker.run_turn()
    assert (channel.bodies(), queue.message_count(), queue.get(), queue.loading()) == ([], 2, None, True)
    bench.journal.open_bytes = 0
    after(bench, 100)
    assert channel.bodies() == numbered(2)[1:]
    assert not queue.loading()


# With most of it on disk


@pytest.mark.parametrize("persistent", [True, False])
def test_early_messages_expire_in_memory_in_the_tail_and_on_disk(persistent: bool) -> None:
    for committed in (0, 4, 8):
        bench = Bench(WINDOW)
        queue = queue_with(bench)
        for number, body in enumerate(numbered(8)):
            queue.publish(expiring(b"50", body, persistent) if number % 2 else message(body, persistent))
            if number + 1 == committed:
                bench.commit()
        bench.broker.run_turn()
        after(bench, 50)
        read_all(bench)
        assert queue.message_count() == 4
        assert queue.ready_bytes() == sum(len(body) for body in numbered(8)[::2])
        assert bodies(bench.drain(queue)) == numbered(8)[::2]
        assert bench.shard.window_bytes == 0


def test_an_early_message_expires_between_its_commit_and_the_news_of_it() -> None:
    bench = Bench(WINDOW)
    queue = queue_with(bench)
    put(bench, queue, *[None] * 4, 50, None)
    batch = bench.broker.take_batch()
    assert batch is not None
    bench.store.commit(batch)
    after(bench, 50)
    assert queue.message_count() == 5
    bench.broker.batch_committed()
    assert bodies(bench.drain(queue)) == [numbered(6)[index] for index in (0, 1, 2, 3, 5)]


def test_what_a_page_under_way_brings_once_more_has_expired_all_the_same() -> None:
    bench = Bench(WINDOW)
    queue = queue_with(bench)
    queue.dead_letters = True
    bench.broker.registry.letter_handler = None
    put(bench, queue, *[None] * 4, 50, None)
    bench.commit()
    after(bench, 50)
    (due,) = bench.broker.take_page_requests()
    assert due.due_up_to
    taken(queue), taken(queue), taken(queue), queue.get()
    (page,) = bench.broker.take_page_requests()
    answers = [(request, request.read(bench.store.reader())) for request in (due, page)]
    for request, found in answers:
        bench.broker.page_loaded(request, found)
    assert bodies(bench.drain(queue)) == [numbered(6)[index] for index in (3, 5)]
    assert [letter.entry.message.body for letter in bench.shard.letters] == [numbered(6)[4]]


def test_what_came_with_a_page_before_the_read_of_what_is_due_expires_once() -> None:
    bench = Bench(WINDOW)
    queue = queue_with(bench)
    put(bench, queue, *[None] * 4, 50, None)
    bench.commit()
    taken(queue), taken(queue), taken(queue), queue.get()
    (page,) = bench.broker.take_page_requests()
    bench.broker.now += 60
    bench.broker.tick(bench.broker.now)
    bench.broker.run_turn()
    (due,) = bench.broker.take_page_requests()
    answers = [(request, request.read(bench.store.reader())) for request in (page, due)]
    for request, found in answers:
        bench.broker.page_loaded(request, found)
        bench.broker.run_turn()
    assert queue.message_count() == 2
    assert bodies(bench.drain(queue)) == [numbered(6)[index] for index in (3, 5)]


def test_a_purge_while_a_read_of_what_is_due_is_under_way() -> None:
    bench = Bench(WINDOW)
    queue = queue_with(bench)
    put(bench, queue, *[None] * 4, 50, None)
    bench.commit()
    after(bench, 50)
    (due,) = bench.broker.take_page_requests()
    found = due.read(bench.store.reader())
    assert queue.purge() == 6
    bench.broker.page_loaded(due, found)
    read_all(bench)
    assert queue.message_count() == 0
    assert not bench.disk.durable.messages
    assert bench.disk.depths[int(queue.id)] == (0, 0)


def test_a_delete_while_a_read_of_what_is_due_is_under_way() -> None:
    bench = Bench(WINDOW)
    queue = queue_with(bench)
    put(bench, queue, *[None] * 4, 50, None)
    bench.commit()
    after(bench, 50)
    (due,) = bench.broker.take_page_requests()
    found = due.read(bench.store.reader())
    bench.vhost.delete_queue(queue)
    bench.broker.page_loaded(due, found)
    bench.commit()
    assert not bench.disk.durable.messages
    assert bench.broker.next_deadline() == 0


def test_after_a_restart_deadlines_go_on() -> None:
    """No setting tells that: only the messages had one."""
    bench = Bench(WINDOW)
    queue = queue_with(bench)
    put(bench, queue, 50, 80, 60, None, 70)
    read_all(bench)
    bench.broker.now += 40
    again = bench.reopened(clean=False)
    restored = again.vhost.queues["q"]
    assert isinstance(restored, ClassicQueue)
    again.broker.run_turn()
    left = []
    for _ in range(5):
        read_all(again)
        left.append(restored.message_count())
        after(again, 10)
    assert left == [5, 4, 3, 2, 1]
    assert bodies(again.drain(restored)) == [numbered(4)[3]]


def test_what_expired_while_the_broker_was_down_is_never_delivered() -> None:
    bench = Bench(WINDOW)
    queue = queue_with(bench)
    put(bench, queue, 50, None, 60)
    read_all(bench)
    bench.broker.now += 1000
    again = bench.reopened(clean=True)
    restored = again.vhost.queues["q"]
    assert isinstance(restored, ClassicQueue)
    again.broker.run_turn()
    read_all(again)
    assert restored.message_count() == 1
    assert bodies(again.drain(restored)) == [numbered(2)[1]]


def test_a_restart_reads_no_page_of_a_queue_where_nothing_is_due() -> None:
    bench = Bench(WINDOW)
    queue = queue_with(bench)
    put(bench, queue, 500, 600)
    again = bench.reopened(clean=True)
    again.broker.run_turn()
    assert not again.broker.take_page_requests()
    assert again.broker.next_deadline() == again.broker.now + 500


def test_one_without_deadline_that_was_in_flight_at_a_crash_hides_nobody_behind_it() -> None:
    bench = Bench(WINDOW)
    queue = queue_with(bench)
    put(bench, queue, None)
    taken(queue)
    put(bench, queue, 50)
    assert queue.message_count() == 1
    read_all(bench)
    again = bench.reopened(clean=False)
    restored = again.vhost.queues["q"]
    assert isinstance(restored, ClassicQueue)
    again.broker.run_turn()
    after(again, 50)
    read_all(again)
    assert restored.message_count() == 1


def test_a_purge_does_not_forget_what_is_in_flight() -> None:
    bench = Bench(WINDOW)
    queue = queue_with(bench)
    put(bench, queue, None)
    taken(queue)
    queue.purge()
    put(bench, queue, 50)
    read_all(bench)
    again = bench.reopened(clean=False)
    restored = again.vhost.queues["q"]
    assert isinstance(restored, ClassicQueue)
    again.broker.run_turn()
    after(again, 50)
    read_all(again)
    assert restored.message_count() == 1


def test_memory_does_not_keep_what_expires_while_it_is_written() -> None:
    bench = Bench(WINDOW)
    queue = queue_with(bench)
    put(bench, queue, *[None] * 12)
    bench.commit()
    most = 0
    for _ in range(2 * STALE_MAX):
        queue.publish(expiring(b"1", BODY))
        bench.broker.run_turn()
        batch = bench.broker.take_batch()
        after(bench, 5)
        bench.write(batch)
        bench.broker.run_turn()
        bench.commit()
        bench.read_pages()
        most = max(most, len(lane(queue).deadlines.taken))
    assert STALE_MAX / 2 < most < 1.5 * STALE_MAX
    assert queue.message_count() == 12


def test_a_basic_get_that_waits_for_room_hears_that_the_queue_was_deleted() -> None:
    bench = Bench()
    queue = queue_with(bench, 10)
    put(bench, queue, None)
    bench.shard.kept_max = 0
    after(bench, 50)
    assert queue.get() is None
    assert queue.loading()
    bench.vhost.delete_queue(queue)
    assert bench.shard.loaded == [queue]


def test_memory_does_not_keep_what_expired_in_the_middle() -> None:
    bench = Bench()
    queue = queue_with(bench)
    queue.publish(message())
    for _ in range(3000):
        queue.publish(expiring(b"50"))
    bench.broker.run_turn()
    after(bench, 50)
    assert queue.message_count() == 1
    assert lane(queue).head.count() < 2000


# On the wire


def counted(client: LinkedClient, queue: str = "q") -> int:
    return int(client.call("queue.declare", queue=queue, passive=True)["message_count"])


def test_a_passive_declare_counts_what_has_not_expired() -> None:
    linked = Linked()
    client = linked.client()
    client.call("queue.declare", queue="q", arguments={"x-message-ttl": 100})
    client.publish("", "q", b"a")
    linked.advance(60)
    client.publish("", "q", b"b")
    counts = [counted(client)]
    for _ in range(2):
        linked.advance(50)
        counts.append(counted(client))
    assert counts == [2, 1, 0]


def test_expiration_is_delivered_as_it_was_sent() -> None:
    linked = Linked()
    client = linked.client()
    client.call("queue.declare", queue="q")
    client.publish("", "q", b"a", properties={"expiration": "60000"})
    client.send("basic.get", queue="q", no_ack=True)
    assert client.expect("basic.get-ok").properties["expiration"] == "60000"

"""The classic queue: publish, deliver, settle, requeue, delete."""

from __future__ import annotations

from amqpd.broker.message import Entry, Message
from amqpd.broker.queue import NACKED
from amqpd.queues.classic import PUMP_MAX, ClassicQueue, Feature
from tests.queues.building import Bench, FakeChannel, consumer, message, numbered


def test_messages_go_to_consumers_in_turn() -> None:
    bench = Bench()
    queue = bench.queue()
    channel = FakeChannel()
    for tag in "ab":
        queue.consume(consumer(queue, channel, tag))
    for body in numbered(4):
        queue.publish(message(body))
    bench.broker.run_turn()
    assert [tag for tag, _ in channel.got] == ["a", "b", "a", "b"]
    assert channel.bodies() == numbered(4)
    assert (queue.message_count(), queue.unacked_count()) == (0, 4)


def test_a_consumer_that_was_full_goes_on_where_it_stopped() -> None:
    bench = Bench()
    queue = bench.queue()
    channel = FakeChannel(room=1)
    one = consumer(queue, channel)
    queue.consume(one)
    for body in numbered(3):
        queue.publish(message(body))
    bench.broker.run_turn()
    channel.room = 5
    bench.broker.run_turn()
    assert len(channel.got) == 1
    queue.resume(one)
    bench.broker.run_turn()
    assert channel.bodies() == numbered(3)


def test_no_ack_deliveries_are_settled_as_they_leave() -> None:
    bench = Bench()
    queue = bench.queue()
    channel = FakeChannel()
    queue.publish(message())
    bench.commit()
    assert bench.disk.durable.messages
    queue.consume(consumer(queue, channel, no_ack=True))
    bench.broker.run_turn()
    bench.commit()
    assert not bench.disk.durable.messages
    assert queue.unacked_count() == 0


def test_only_persistent_messages_on_durable_queues_are_stored() -> None:
    bench = Bench()
    bench.queue("kept").publish(message(b"stored", persistent=True))
    bench.queue("kept too").publish(message(b"not", persistent=False))
    bench.queue("lost", durable=False).publish(message(b"neither", persistent=True))
    bench.commit()
    assert [row[4] for row in bench.disk.durable.messages.values()] == [b"stored"]


def test_a_message_in_two_queues_is_stored_once_and_goes_with_the_last() -> None:
    bench = Bench()
    queues = [bench.queue("a"), bench.queue("b")]
    shared = message()
    for queue in queues:
        queue.publish(shared)
    bench.commit()
    assert len(bench.disk.durable.messages) == 1
    for queue in queues:
        assert len(bench.disk.durable.messages) == 1
        entry = queue.get()
        assert entry is not None
        queue.settle(entry)
        bench.commit()
    assert not bench.disk.durable.messages


def test_a_message_durable_in_one_queue_and_paged_out_of_another_is_in_both_worlds() -> None:
    bench = Bench(window=0)
    durable, transient = bench.queue("d"), bench.queue("t", durable=False)
    shared = message()
    durable.publish(shared)
    transient.publish(shared)
    bench.commit()
    assert (len(bench.disk.durable.messages), len(bench.disk.paged.messages)) == (1, 1)
    for queue in (durable, transient):
        for entry in bench.drain(queue):
            queue.settle(entry)
    bench.commit()
    assert not bench.disk.durable.messages
    assert not bench.disk.paged.messages


def test_a_long_queue_is_delivered_over_several_turns() -> None:
    bench = Bench(1 << 30)
    bench.shard.window_budget = 1 << 30
    queue = bench.queue(durable=False)
    channel = FakeChannel(room=1 << 30)
    for _ in range(PUMP_MAX + 1):
        queue.publish(message(b""))
    queue.consume(consumer(queue, channel, no_ack=True))
    bench.broker.run_turn()
    assert len(channel.got) == PUMP_MAX
    assert bench.broker.busy()
    bench.broker.run_turn()
    assert len(channel.got) == PUMP_MAX + 1
    assert not bench.broker.busy()


def test_settling_after_the_queue_was_deleted_changes_nothing() -> None:
    bench = Bench()
    queue = bench.queue()
    queue.publish(message())
    queue.publish(message())
    bench.commit()
    first, second = queue.get(), queue.get()
    assert first is not None
    assert second is not None
    bench.vhost.delete_queue(queue)
    queue.settle(first)
    queue.requeue(second, NACKED)
    bench.commit()
    assert queue.unacked_count() == queue.message_count() == 0
    assert bench.shard.window_bytes == 0
    assert not bench.disk.durable.messages


def test_a_queue_deleted_while_its_batch_is_under_way_leaves_nothing() -> None:
    bench = Bench(window=0)
    queue = bench.queue()
    for persistent in (True, False, True):
        queue.publish(message(persistent=persistent))
    batch = bench.broker.take_batch()
    queue.publish(message())
    bench.vhost.delete_queue(queue)
    bench.write(batch)
    bench.commit()
    for shelf in (bench.disk.durable, bench.disk.paged):
        assert not shelf.messages
        assert not shelf.flags
    assert not bench.disk.depths


def test_consumers_of_a_deleted_queue_are_told_after_the_turn() -> None:
    bench = Bench()
    queue = bench.queue()
    channel = FakeChannel()
    queue.consume(consumer(queue, channel))
    bench.vhost.delete_queue(queue)
    assert not channel.told
    bench.broker.run_turn()
    assert channel.told == ["c"]
    assert not queue.consumers()


def test_an_auto_delete_queue_says_so_when_its_last_consumer_leaves() -> None:
    bench = Bench()
    queue = bench.queue(auto_delete=True)
    consumers = [consumer(queue, FakeChannel(), tag) for tag in "ab"]
    for one in consumers:
        queue.consume(one)
    assert not queue.cancel(consumers[0])
    assert queue.cancel(consumers[1])


def test_delivered_up_to_is_the_highest_position_that_left() -> None:
    bench = Bench()
    queue = bench.queue()
    for _ in range(3):
        queue.publish(message())
    first, second = queue.get(), queue.get()
    assert first is not None
    assert second is not None
    queue.requeue(first, NACKED)
    queue.get()
    assert [int(lane.last_delivered) for lane in queue.lanes()] == [second.position]


class Followed(Feature):
    """Writes down where entries go, by body; swallows what is called ``bad``."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, bytes]] = []

    def swallow(self, queue: ClassicQueue, message: Message) -> bool:
        return message.body == b"bad"

    def taken(self, queue: ClassicQueue, entry: Entry) -> None:
        self.seen.append(("taken", entry.message.body))

    def back(self, queue: ClassicQueue, entry: Entry) -> None:
        self.seen.append(("back", entry.message.body))

    def left(self, queue: ClassicQueue, entry: Entry) -> None:
        self.seen.append(("left", entry.message.body))

    def purged(self, queue: ClassicQueue) -> None:
        self.seen.append(("purged", b""))


def followed(bench: Bench) -> tuple[ClassicQueue, Followed]:
    queue, feature = bench.queue(), Followed()
    queue.attach(feature)
    return queue, feature


def test_a_swallowed_message_was_taken_and_is_not_there() -> None:
    queue, feature = followed(Bench())
    assert queue.publish(message(b"bad"))
    assert queue.message_count() == 0
    assert queue.publish(message(b"good"))
    assert queue.message_count() == 1
    assert feature.seen == []


def test_a_feature_can_follow_each_entry() -> None:
    bench = Bench()
    queue, feature = followed(bench)
    for body in (b"acked", b"rejected", b"back", b"purged"):
        queue.publish(message(body))
    acked, rejected, back = (queue.get() for _ in range(3))
    assert acked is not None
    assert rejected is not None
    assert back is not None
    queue.settle(acked)
    queue.reject(rejected)
    queue.requeue(back, NACKED)
    queue.purge()
    assert feature.seen == [
        ("taken", b"acked"),
        ("taken", b"rejected"),
        ("taken", b"back"),
        ("left", b"acked"),
        ("left", b"rejected"),
        ("back", b"back"),
        ("left", b"back"),
        ("left", b"purged"),
        ("purged", b""),
    ]


def test_a_feature_can_follow_deliveries() -> None:
    bench = Bench()
    queue, feature = followed(bench)
    for no_ack in (False, True):
        one = consumer(queue, FakeChannel(), no_ack=no_ack)
        queue.consume(one)
        queue.publish(message(b"m"))
        bench.broker.run_turn()
        queue.cancel(one)
    assert feature.seen == [("taken", b"m"), ("left", b"m")]

"""Faults the simulation found, or would have: each as its shortest steps."""

from __future__ import annotations

from amqpd.store.memory import MemoryDisk, MemoryStore
from interop.conformance.codec import Typed
from tests.support.linked import Linked, LinkedClient, publication

PERSISTENT = {"delivery_mode": 2}
BIG = b"." * 300


def small_windows(disk: MemoryDisk | None = None) -> Linked:
    """A broker whose queues page out after two messages."""
    linked = Linked(MemoryStore(disk))
    shard = linked.broker.shard
    shard.window_bytes_min = shard.window_bytes_max = 1000
    shard.page_messages, shard.page_bytes, shard.page_low = 3, 700, 900
    return linked


def declared(client: LinkedClient, name: str, **values: bool) -> str:
    client.send("queue.declare", queue=name, **values)
    client.linked.commit()
    client.expect("queue.declare-ok")
    return name


def fill(client: LinkedClient, name: str, count: int = 8) -> None:
    """More than fits in memory, on disk as far as it goes there."""
    for _ in range(count):
        client.publish("", name, BIG)
    client.linked.commit()


def cut(frames: bytes) -> tuple[bytes, bytes]:
    """A publication as its method frame and the rest."""
    end = 8 + int.from_bytes(frames[3:7], "big")
    return frames[:end], frames[end:]


def test_a_queue_declared_between_a_publish_and_its_content_gets_the_message() -> None:
    linked = Linked()
    client = linked.client(channels=2)
    begin, rest = cut(publication("", "late", b"content"))
    client.feed(begin)
    client.call("queue.declare", on=2, queue="late")
    client.feed(rest)
    assert client.call("queue.declare", on=2, queue="late", passive=True)["message_count"] == 1


def test_a_queue_deleted_between_a_publish_and_its_content_leaves_nothing_behind() -> None:
    linked = Linked()
    client = linked.client(channels=2)
    client.call("queue.declare", on=2, queue="gone")
    begin, rest = cut(publication("", "gone", b"content", mandatory=True))
    client.feed(begin)
    client.call("queue.delete", on=2, queue="gone")
    client.feed(rest)
    assert client.expect("basic.return").body == b"content"
    assert linked.broker.shard.window_bytes == 0


def test_an_exchange_deleted_between_a_publish_and_its_content_closes_the_channel() -> None:
    linked = Linked()
    client = linked.client(channels=2)
    client.call("exchange.declare", on=2, exchange="x", type="fanout")
    begin, rest = cut(publication("x", "", b"content"))
    client.feed(begin)
    client.call("exchange.delete", on=2, exchange="x")
    client.feed(rest)
    assert client.expect("channel.close").values["reply_code"] == 404


def test_a_confirm_comes_for_a_publish_after_one_that_was_settled_in_the_same_batch() -> None:
    linked = Linked()
    client = linked.client(channels=2)
    declared(client, "q", durable=True)
    client.call("confirm.select")
    client.call("basic.consume", on=2, queue="q", consumer_tag="c", no_ack=True)
    client.publish("", "q", b"first", PERSISTENT)
    linked.commit()
    assert client.names() == ["basic.deliver", "basic.ack"]
    client.call("basic.cancel", on=2, consumer_tag="c")
    client.publish("", "q", b"second", PERSISTENT)
    linked.commit()
    assert client.expect("basic.ack").values["delivery_tag"] == 2


def test_a_get_that_waits_for_a_page_hears_that_the_queue_was_deleted() -> None:
    linked = small_windows()
    client = linked.client(channels=1)
    other = linked.client()
    client.call("queue.declare", queue="q")
    fill(client, "q")
    while client.connection.waiting_get is None:
        client.send("basic.get", queue="q", no_ack=True)
    other.call("queue.delete", queue="q")
    linked.load_pages()
    assert client.received()[-1].name == "channel.close"
    assert client.connection.wants_read()


def test_a_get_that_waits_for_a_page_hears_that_the_queue_was_purged() -> None:
    linked = small_windows()
    client = linked.client(channels=1)
    other = linked.client()
    client.call("queue.declare", queue="q")
    fill(client, "q")
    while client.connection.waiting_get is None:
        client.send("basic.get", queue="q", no_ack=True)
    other.call("queue.purge", queue="q")
    linked.load_pages()
    assert client.received()[-1].name == "basic.get-empty"


def test_a_deleted_transient_queue_leaves_nothing_of_what_it_paged_out() -> None:
    """Some of it is ready on disk, some in memory again, some in flight, some in a batch under way."""
    disk = MemoryDisk()
    linked = small_windows(disk)
    client = linked.client()
    client.call("queue.declare", queue="q")
    fill(client, "q")
    client.call("basic.qos", prefetch_count=4)
    client.call("basic.consume", queue="q", consumer_tag="c")
    linked.settle()
    assert client.bodies() == [BIG] * 4
    client.publish("", "q", BIG)
    linked.take()
    assert disk.paged.messages
    client.call("queue.delete", queue="q")
    linked.commit()
    assert not disk.paged.messages
    assert not disk.paged.flags


def test_a_channel_limit_that_is_free_again_wakes_every_consumer_that_waited() -> None:
    linked = Linked()
    client = linked.client()
    for name in ("one", "two"):
        client.call("queue.declare", queue=name)
    client.call("basic.qos", prefetch_count=1, global_=True)
    client.call("basic.consume", queue="one", consumer_tag="one")
    client.call("basic.consume", queue="two", consumer_tag="two")
    client.publish("", "one", b"1")
    client.publish("", "one", b"1")
    client.publish("", "two", b"2")
    assert client.bodies() == [b"1"]
    client.call("queue.purge", queue="one")
    client.send("basic.ack", delivery_tag=1)
    assert client.bodies() == [b"2"]


def test_a_publisher_is_read_again_when_a_full_batch_had_nothing_to_write() -> None:
    linked = Linked()
    client = linked.client(channels=2)
    declared(client, "q", durable=True)
    linked.broker.journal.open_bytes_max = 1000
    client.call("basic.consume", on=2, queue="q", consumer_tag="c", no_ack=True)
    client.feed(publication("", "q", BIG, PERSISTENT) * 4)
    assert len(client.bodies()) == 4
    linked.commit()
    assert client.connection.wants_read()


def test_a_purge_of_a_paged_transient_queue_writes_no_depth() -> None:
    disk = MemoryDisk()
    linked = small_windows(disk)
    client = linked.client()
    client.call("queue.declare", queue="q")
    fill(client, "q")
    assert client.call("queue.purge", queue="q")["message_count"] == 8
    linked.commit()
    assert not disk.depths
    assert not disk.paged.messages


def test_a_cancelled_reply_consumer_takes_its_replies_along() -> None:
    linked = Linked()
    client = linked.client()
    client.call("basic.consume", queue="amq.rabbitmq.reply-to", consumer_tag="c", no_ack=True)
    client.call("channel.flow", active=False)
    client.call("queue.declare", queue="requests")
    client.publish("", "requests", b"", {"reply_to": "amq.rabbitmq.reply-to"})
    client.send("basic.get", queue="requests", no_ack=True)
    name = client.expect("basic.get-ok").properties["reply_to"]
    client.publish("", name, b"reply")
    client.call("basic.cancel", consumer_tag="c")
    assert linked.broker.shard.window_bytes == 0


def test_a_reply_to_a_requester_that_left_is_returned_and_leaves_nothing_behind() -> None:
    """The channel that answers remembers the route to the reply queue."""
    linked = Linked()
    requester, server = linked.client(), linked.client()
    requester.call("basic.consume", queue="amq.rabbitmq.reply-to", consumer_tag="c", no_ack=True)
    server.call("queue.declare", queue="requests")
    requester.publish("", "requests", b"", {"reply_to": "amq.rabbitmq.reply-to"})
    server.send("basic.get", queue="requests", no_ack=True)
    name = server.expect("basic.get-ok").properties["reply_to"]
    server.publish("", name, b"one", mandatory=True)
    assert requester.bodies() == [b"one"]
    requester.hang_up()
    server.publish("", name, b"two", mandatory=True)
    assert server.expect("basic.return").body == b"two"
    assert linked.broker.shard.window_bytes == 0


def test_a_long_chain_of_auto_delete_exchanges_goes_with_its_queue() -> None:
    linked = Linked()
    client = linked.client()
    client.call("queue.declare", queue="q")
    for number in range(1500):
        client.call("exchange.declare", exchange=f"x{number}", type="fanout", auto_delete=True)
        if number:
            client.call("exchange.bind", source=f"x{number}", destination=f"x{number - 1}")
        else:
            client.call("queue.bind", exchange="x0", queue="q")
    client.call("queue.delete", queue="q")
    assert not [name for name in linked.broker.vhosts["/"].exchanges if name.startswith("x")]


def test_a_letter_that_cannot_be_kept_returns_beside_the_slot_it_left() -> None:
    """Returned messages expire behind one that does not, and there is no room to keep their letters."""
    linked = Linked()
    linked.broker.shard.kept_max = 1
    client = linked.client()
    full = {"x-max-length": 0, "x-overflow": "reject-publish"}
    client.call("queue.declare", queue="full", durable=True, arguments=full)
    keeping = {
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "full",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    client.call("queue.declare", queue="keeping", durable=True, arguments=keeping)
    client.publish("", "keeping", b"stays", PERSISTENT)
    for _ in range(6):
        client.publish("", "keeping", b"expires", {**PERSISTENT, "expiration": "40"})
    linked.commit()
    client.call("basic.consume", queue="keeping", consumer_tag="c")
    assert len(client.bodies()) == 7
    client.call("basic.cancel", consumer_tag="c")
    client.send("basic.nack", delivery_tag=7, multiple=True, requeue=True)
    linked.advance(50)
    linked.settle()
    assert client.call("queue.declare", queue="keeping", passive=True)["message_count"] == 6


def test_a_letter_that_could_not_be_kept_is_settled_in_the_batch_that_brought_it() -> None:
    disk = MemoryDisk()
    linked = Linked(MemoryStore(disk))
    linked.broker.shard.kept_max = 0
    client = linked.client()
    keeping = {
        "x-dead-letter-exchange": "nowhere",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    client.call("queue.declare", queue="keeping", durable=True, arguments=keeping)
    client.call("basic.consume", queue="keeping", consumer_tag="c")
    client.publish("", "keeping", b"body", PERSISTENT)
    client.send("basic.reject", delivery_tag=1, requeue=False)
    assert client.bodies() == [b"body", b"body"]
    client.send("basic.ack", delivery_tag=2)
    client.publish("", "keeping", b"another", PERSISTENT)
    linked.commit()
    assert [row[4] for row in disk.durable.messages.values()] == [b"another"]


def test_a_young_message_does_not_go_with_the_old_one_its_chunk_began_with() -> None:
    """The store took no batch for a while, so the chunk is as long."""
    linked = Linked()
    client = linked.client()
    client.call("queue.declare", queue="s", durable=True, arguments={"x-queue-type": "stream", "x-max-age": "1s"})
    client.publish("", "s", b"old")
    linked.advance(999)
    client.publish("", "s", b"young")
    linked.commit()
    client.publish("", "s", b"another")
    linked.commit()
    linked.advance(998)
    assert client.call("queue.declare", queue="s", passive=True)["message_count"] == 3
    linked.advance(2)
    assert client.call("queue.declare", queue="s", passive=True)["message_count"] == 1


def test_a_reader_from_a_time_on_waits_for_the_chunk_of_that_time() -> None:
    """None that young is on disk when it is looked for: an older one is under way, the right one is open."""
    linked = Linked()
    client, reader = linked.client(), linked.client()
    client.call("queue.declare", queue="s", durable=True, arguments={"x-queue-type": "stream"})
    client.publish("", "s", b"oldest")
    linked.commit()
    linked.advance(1000)
    client.publish("", "s", b"old")
    linked.take()
    linked.advance(1000)
    client.publish("", "s", b"young")
    reader.call("basic.qos", prefetch_count=10)
    since = Typed("T", linked.broker.now // 1000)
    reader.call("basic.consume", queue="s", consumer_tag="c", arguments={"x-stream-offset": since})
    linked.load_pages()
    linked.write()
    linked.settle()
    assert reader.bodies() == [b"young"]

"""basic.qos: what consumers may have in flight."""

from __future__ import annotations

from tests.support.linked import LinkedClient, Received, publication


def publish(client: LinkedClient, *bodies: bytes) -> None:
    client.feed(b"".join([publication("", "q", body) for body in bodies]))


def consume(client: LinkedClient, tag: str, on: int = 1, **values: bool) -> None:
    client.send("basic.consume", on, queue="q", consumer_tag=tag, **values)
    client.expect("basic.consume-ok")


def test_consumer_gets_no_more_than_its_prefetch(client: LinkedClient) -> None:
    client.call("queue.declare", queue="q")
    client.call("basic.qos", prefetch_count=2)
    consume(client, "t")
    publish(client, b"1", b"2", b"3", b"4")
    assert client.bodies() == [b"1", b"2"]
    client.send("basic.ack", delivery_tag=1)
    assert client.bodies() == [b"3"]
    client.send("basic.ack", delivery_tag=3, multiple=True)
    assert client.bodies() == [b"4"]


def test_each_consumer_has_its_own_prefetch(client: LinkedClient) -> None:
    client.call("queue.declare", queue="q")
    client.call("basic.qos", prefetch_count=1)
    consume(client, "a")
    consume(client, "b")
    publish(client, b"1", b"2", b"3")
    assert _tags(client.received()) == ["a", "b"]
    client.send("basic.ack", delivery_tag=2)
    assert _tags(client.received()) == ["b"]


def test_running_consumer_keeps_its_prefetch(client: LinkedClient) -> None:
    client.call("queue.declare", queue="q")
    client.call("basic.qos", prefetch_count=1)
    consume(client, "t")
    client.call("basic.qos", prefetch_count=10)
    publish(client, b"1", b"2")
    assert client.bodies() == [b"1"]


def test_limit_of_the_channel_counts_all_its_consumers(client: LinkedClient) -> None:
    client.call("queue.declare", queue="q")
    consume(client, "a")
    consume(client, "b")
    client.call("basic.qos", prefetch_count=2, global_=True)
    publish(client, b"1", b"2", b"3")
    assert client.bodies() == [b"1", b"2"]
    client.send("basic.nack", delivery_tag=1, requeue=False)
    assert client.bodies() == [b"3"]


def test_raised_limit_of_the_channel_holds_at_once(client: LinkedClient) -> None:
    client.call("queue.declare", queue="q")
    consume(client, "t")
    client.call("basic.qos", prefetch_count=1, global_=True)
    publish(client, b"1", b"2", b"3")
    assert client.bodies() == [b"1"]
    client.send("basic.qos", prefetch_count=3, global_=True)
    client.expect("basic.qos-ok")
    assert client.bodies() == [b"2", b"3"]


def test_limit_of_consumers_drops_the_limit_of_the_channel(client: LinkedClient) -> None:
    client.call("queue.declare", queue="q")
    consume(client, "t")
    client.call("basic.qos", prefetch_count=1, global_=True)
    publish(client, b"1", b"2")
    assert client.bodies() == [b"1"]
    client.send("basic.qos", prefetch_count=5)
    client.expect("basic.qos-ok")
    assert client.bodies() == [b"2"]


def test_consumer_without_acks_has_no_limit(client: LinkedClient) -> None:
    client.call("queue.declare", queue="q")
    client.call("basic.qos", prefetch_count=1)
    consume(client, "t", no_ack=True)
    publish(client, b"1", b"2", b"3")
    assert client.bodies() == [b"1", b"2", b"3"]


def test_stuck_consumer_leaves_the_messages_to_the_others(client: LinkedClient) -> None:
    client.call("queue.declare", queue="q")
    client.call("basic.qos", prefetch_count=1)
    consume(client, "stuck")
    client.call("channel.open", on=2)
    consume(client, "free", on=2)
    publish(client, b"1", b"2", b"3")
    assert _tags(client.received()) == ["stuck", "free", "free"]


def test_paused_channel_gets_nothing_and_loses_nothing(client: LinkedClient) -> None:
    client.call("queue.declare", queue="q")
    consume(client, "t", no_ack=True)
    client.call("channel.flow", active=False)
    publish(client, b"1", b"2")
    assert client.names() == []
    client.send("channel.flow", active=True)
    client.expect("channel.flow-ok")
    assert client.bodies() == [b"1", b"2"]


def test_consumer_that_does_not_read_is_passed_over_until_it_does(client: LinkedClient) -> None:
    client.call("queue.declare", queue="q")
    consume(client, "t", no_ack=True)
    client.reading = False
    count = 3 * (client.connection.outbox.size_max // 100_000)
    publish(client, *[bytes(100_000)] * count)
    assert client.connection.outbox.size() < 2 * client.connection.outbox.size_max
    client.read_again()
    assert len(client.bodies()) == count


def _tags(came: list[Received]) -> list[str]:
    return [one.values["consumer_tag"] for one in came]

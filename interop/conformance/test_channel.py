"""The channel class and the difference between hard and soft errors (behaviour 1.3, 1.4)."""

import pytest

from interop import facts

from .client import Channel, Client
from .codec import BODY
from .conftest import Connect, Names

differs = pytest.mark.differs


# open


def test_method_on_an_unopened_channel_is_a_channel_error(client: Client) -> None:
    client.send("queue.declare", on=5)
    client.expect_close(504, "expected 'channel.open'", "queue.declare")


def test_method_on_a_closed_channel_is_a_channel_error(channel: Channel) -> None:
    channel.close()
    channel.fatal(504, "expected 'channel.open'", "basic.qos")


def test_publish_on_a_closed_channel_is_a_channel_error(channel: Channel) -> None:
    channel.close()
    channel.publish(routing_key="x", body=b"x")
    channel.client.expect_close(504, "expected 'channel.open'", "basic.publish")


def test_second_open_is_a_channel_error(channel: Channel) -> None:
    channel.fatal(504, "second 'channel.open' seen", "channel.open")


@differs(facts.SETTLED_LATE)
@pytest.mark.parametrize("method", ["basic.ack", "basic.nack", "basic.reject"])
def test_settlement_on_a_closed_channel_is_ignored(channel: Channel, method: str) -> None:
    channel.close()
    channel.send(method, delivery_tag=1)
    channel.client.check_alive()


# close


def test_channel_number_is_free_after_close_ok(channel: Channel) -> None:
    for _ in range(20):
        channel.close()
        channel.client.channel(channel.number)
    channel.call("basic.qos")


def test_close_requeues_what_is_unacked_in_order(channel: Channel, queue: str) -> None:
    for body in (b"0", b"1", b"2"):
        channel.publish(routing_key=queue, body=body)
    consumer = channel.client.channel()
    consumer.call("basic.qos", prefetch_count=2)
    consumer.call("basic.consume", queue=queue)
    assert consumer.bodies(2) == [b"0", b"1"]
    consumer.close()
    messages = [channel.get(queue) for _ in range(3)]
    assert [(m.body, m.method["redelivered"]) for m in messages if m] == [
        (b"0", True),
        (b"1", True),
        (b"2", False),
    ]


def test_close_removes_the_consumers_before_close_ok(channel: Channel, queue: str) -> None:
    consumer = channel.client.channel()
    consumer.call("basic.consume", queue=queue)
    consumer.close()
    assert channel.count(queue) == (0, 0)


def test_connection_loss_requeues_what_is_unacked(channel: Channel, other: Channel, queue: str) -> None:
    channel.publish(routing_key=queue, body=b"0")
    other.call("basic.consume", queue=queue, consumer_tag="lost")
    assert other.bodies(1) == [b"0"]
    other.client.sock.close()
    channel.call("basic.consume", queue=queue)
    message = channel.message()
    assert (message.body, message.method["redelivered"]) == (b"0", True)


# Soft errors


def break_channel(channel: Channel) -> None:
    """Provoke a channel.close and read it, without answering."""
    channel.send("queue.declare", queue="nosuch", passive=True)
    channel.expect("channel.close")


def test_frames_after_a_soft_error_are_discarded_until_close_ok(
    channel: Channel, other: Channel, vhost: str, name: Names
) -> None:
    queue = name("q")
    break_channel(channel)
    channel.send("queue.declare", queue=queue)
    channel.publish(routing_key=queue, body=b"x")
    channel.send("queue.declare", queue="nosuch", passive=True)
    channel.expect_nothing()
    channel.send("channel.close-ok")
    channel.client.channel(channel.number).call("basic.qos")
    other.refused(404, f"no queue '{queue}' in vhost '{vhost}'", "queue.declare", queue=queue, passive=True)


def test_open_before_close_ok_is_a_channel_error(channel: Channel) -> None:
    break_channel(channel)
    channel.fatal(504, "second 'channel.open' seen", "channel.open")


def test_content_under_way_is_discarded_after_a_soft_error(channel: Channel) -> None:
    channel.send("queue.declare", queue="nosuch", passive=True)
    channel.send("basic.publish", routing_key="x")
    channel.send_header(6)
    channel.send_frame(BODY, b"abc")
    channel.expect("channel.close")
    channel.send_frame(BODY, b"def")
    channel.send("channel.close-ok")
    channel.client.channel(channel.number).call("basic.qos")


def test_number_is_free_right_after_the_clients_close_ok(channel: Channel) -> None:
    for _ in range(20):
        break_channel(channel)
        channel.send("channel.close-ok")
        channel.client.channel(channel.number)
    channel.call("basic.qos")


def test_client_close_crossing_a_soft_error_is_answered(channel: Channel) -> None:
    channel.send("queue.declare", queue="nosuch", passive=True)
    channel.send("channel.close", reply_code=200)
    channel.expect("channel.close")
    channel.expect("channel.close-ok")
    channel.send("channel.close-ok")
    channel.expect_nothing()
    channel.client.check_alive()


def test_soft_error_requeues_what_is_unacked(channel: Channel, queue: str) -> None:
    channel.publish(routing_key=queue, body=b"0")
    consumer = channel.client.channel()
    assert consumer.get(queue, no_ack=False) is not None
    break_channel(consumer)
    consumer.send("channel.close-ok")
    channel.call("basic.consume", queue=queue)
    assert channel.message().method["redelivered"]


def test_soft_error_leaves_the_other_channels_alone(channel: Channel, client: Client, queue: str) -> None:
    consumer, broken = client.channel(), client.channel()
    consumer.call("basic.consume", queue=queue, no_ack=True)
    break_channel(broken)
    channel.publish(routing_key=queue, body=b"0")
    assert consumer.bodies(1) == [b"0"]


def test_failing_no_wait_method_closes_the_channel(channel: Channel) -> None:
    channel.refused(
        403,
        "exchange name 'amq.zz' contains reserved prefix 'amq.*'",
        "exchange.declare",
        exchange="amq.zz",
        type="direct",
        no_wait=True,
    )


def test_succeeding_no_wait_methods_are_not_answered(channel: Channel, name: Names) -> None:
    queue, exchange = name("q"), name("e")
    channel.send("exchange.declare", exchange=exchange, type="direct", no_wait=True)
    channel.send("exchange.bind", destination=exchange, source="amq.fanout", no_wait=True)
    channel.send("exchange.unbind", destination=exchange, source="amq.fanout", no_wait=True)
    channel.send("queue.declare", queue=queue, no_wait=True)
    channel.send("queue.bind", queue=queue, exchange=exchange, no_wait=True)
    channel.send("basic.consume", queue=queue, consumer_tag="t", no_wait=True)
    channel.send("basic.cancel", consumer_tag="t", no_wait=True)
    channel.send("queue.purge", queue=queue, no_wait=True)
    channel.send("queue.delete", queue=queue, no_wait=True)
    channel.send("exchange.delete", exchange=exchange, no_wait=True)
    channel.send("confirm.select", no_wait=True)
    channel.call("basic.qos")
    channel.expect_nothing()


# flow


def test_flow_true_is_answered(channel: Channel) -> None:
    assert channel.call("channel.flow", active=True) == {"active": True}


@differs(facts.FLOW)
def test_flow_false_is_answered(channel: Channel) -> None:
    assert channel.call("channel.flow", active=False) == {"active": False}


@differs(facts.FLOW)
def test_flow_false_pauses_the_deliveries_of_the_channel_only(channel: Channel, queue: str) -> None:
    paused, running = channel.client.channel(), channel.client.channel()
    paused.call("basic.consume", queue=queue, no_ack=True)
    paused.call("channel.flow", active=False)
    channel.publish(routing_key=queue, body=b"0")
    channel.expect_nothing()
    running.call("basic.consume", queue=queue, no_ack=True)
    assert running.bodies(1) == [b"0"]


@differs(facts.FLOW)
def test_flow_true_resumes_the_deliveries(channel: Channel, queue: str) -> None:
    channel.call("basic.consume", queue=queue, no_ack=True)
    channel.call("channel.flow", active=False)
    for body in (b"0", b"1"):
        channel.publish(routing_key=queue, body=body)
    channel.expect_nothing()
    channel.call("channel.flow", active=True)
    assert channel.bodies(2) == [b"0", b"1"]


# Order


def test_publishes_of_a_channel_keep_their_order(channel: Channel, queue: str) -> None:
    channel.call("basic.consume", queue=queue, no_ack=True)
    wanted = [b"%d" % number for number in range(300)]
    for body in wanted:
        channel.publish(routing_key=queue, body=body)
    assert channel.bodies(300) == wanted


def test_replies_come_in_the_order_of_the_methods(channel: Channel) -> None:
    for method in ("basic.qos", "queue.declare", "tx.select", "basic.recover", "basic.qos"):
        channel.send(method, **({"requeue": True} if method == "basic.recover" else {}))
    for reply in ("basic.qos-ok", "queue.declare-ok", "tx.select-ok", "basic.recover-ok", "basic.qos-ok"):
        channel.expect(reply)


def test_hard_error_of_one_connection_leaves_its_peers_consumers(
    connect: Connect, channel: Channel, queue: str
) -> None:
    channel.call("basic.consume", queue=queue, no_ack=True)
    bad = connect().channel()
    bad.publish(routing_key=queue, body=b"0")
    bad.fatal(504, "second 'channel.open' seen", "channel.open")
    assert channel.bodies(1) == [b"0"]


# The access class


def test_access_is_granted_with_ticket_1(channel: Channel) -> None:
    assert channel.call("access.request", realm="/data", active=True) == {"ticket": 1}

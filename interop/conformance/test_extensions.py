"""RabbitMQ's extensions: consumer cancel notify, direct reply-to, connection.blocked (behaviour 2.1)."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from interop import facts
from interop.broker import AmqpdProcess

from .broker import rabbitmqctl, target_from_url
from .client import CAPABILITIES, PATIENCE, Channel, Client, Silence, Target, check_close
from .conftest import BrokerUnderTest, Connect

differs = pytest.mark.differs

# Consumer cancel notify


def test_consumer_hears_that_its_queue_was_deleted(channel: Channel, other: Channel, queue: str) -> None:
    channel.call("basic.consume", queue=queue, consumer_tag="t")
    other.call("queue.delete", queue=queue)
    assert channel.expect("basic.cancel") == {"consumer_tag": "t", "no_wait": True}
    channel.call("basic.qos")


@differs(facts.CANCEL_OK)
def test_cancel_may_be_answered(channel: Channel, other: Channel, queue: str) -> None:
    channel.call("basic.consume", queue=queue, consumer_tag="t")
    other.call("queue.delete", queue=queue)
    channel.expect("basic.cancel")
    channel.send("basic.cancel-ok", consumer_tag="t")
    channel.call("basic.qos")
    channel.expect_nothing()


@differs(facts.CANCEL_OK)
def test_answer_to_no_cancel_leaves_the_consumer_alone(channel: Channel, queue: str) -> None:
    channel.call("basic.consume", queue=queue, consumer_tag="t")
    channel.send("basic.cancel-ok", consumer_tag="t")
    channel.publish("", queue, b"x")
    assert channel.bodies(1) == [b"x"]


def test_every_consumer_of_the_queue_hears_it(channel: Channel, other: Channel, queue: str) -> None:
    for tag in ("a", "b"):
        channel.call("basic.consume", queue=queue, consumer_tag=tag)
    other.call("queue.delete", queue=queue)
    assert {channel.expect("basic.cancel")["consumer_tag"] for _ in range(2)} == {"a", "b"}


@pytest.mark.parametrize("capabilities", [{}, {**CAPABILITIES, "consumer_cancel_notify": False}], ids=str)
def test_client_without_the_capability_hears_nothing(
    connect: Connect, channel: Channel, queue: str, capabilities: dict[str, bool]
) -> None:
    consumer = connect(capabilities=capabilities).channel()
    consumer.call("basic.consume", queue=queue)
    channel.call("queue.delete", queue=queue)
    consumer.expect_nothing()
    consumer.call("basic.qos")


def test_tag_of_a_cancelled_consumer_is_free(channel: Channel, other: Channel, queue: str) -> None:
    channel.call("basic.consume", queue=queue, consumer_tag="t")
    other.call("queue.delete", queue=queue)
    channel.expect("basic.cancel")
    channel.call("queue.declare", queue=queue)
    channel.call("basic.consume", queue=queue, consumer_tag="t")


# Direct reply-to

REPLY_TO = "amq.rabbitmq.reply-to"


def consume_replies(channel: Channel) -> None:
    channel.call("basic.consume", queue=REPLY_TO, no_ack=True, consumer_tag="replies")


def reply_name(channel: Channel, queue: str) -> str:
    """The name that the reply-to of a request is rewritten to."""
    channel.publish("", queue, b"request", {"reply_to": REPLY_TO, "correlation_id": "c"})
    message = channel.get(queue)
    assert message is not None
    assert message.properties["correlation_id"] == "c"
    return str(message.properties["reply_to"])


def test_reply_reaches_the_requester(channel: Channel, other: Channel, queue: str) -> None:
    consume_replies(channel)
    channel.publish("", queue, b"request", {"reply_to": REPLY_TO})
    channel.call("queue.declare", queue=queue, passive=True)  # answered behind the message
    request = other.get(queue)
    assert request is not None
    name = request.properties["reply_to"]
    assert name.startswith(REPLY_TO + ".")
    other.publish("", name, b"reply", {"correlation_id": "c"})
    reply = channel.message()
    assert (reply.body, reply.properties) == (b"reply", {"correlation_id": "c"})
    assert reply.method == {
        "consumer_tag": "replies",
        "delivery_tag": 1,
        "redelivered": False,
        "exchange": "",
        "routing_key": name,
    }


@differs(facts.REPLY_TAGS)
def test_replies_share_the_delivery_tags_of_the_channel(channel: Channel, other: Channel, queue: str) -> None:
    consume_replies(channel)
    name = reply_name(channel, queue)
    other.publish("", name, b"reply")
    assert channel.message().tag == 2
    channel.publish("", queue, b"x")
    message = channel.get(queue)
    assert message is not None
    assert message.tag == 3


def test_reply_consumer_must_not_acknowledge(channel: Channel) -> None:
    channel.refused(406, "reply consumer cannot acknowledge", "basic.consume", queue=REPLY_TO)


def test_second_reply_consumer_is_refused(channel: Channel) -> None:
    consume_replies(channel)
    channel.refused(406, "reply consumer already set", "basic.consume", queue=REPLY_TO, no_ack=True, consumer_tag="2")


def test_request_without_a_reply_consumer_is_refused(channel: Channel, queue: str) -> None:
    channel.publish_refused(406, "fast reply consumer does not exist", "", queue, properties={"reply_to": REPLY_TO})


def test_reply_consumer_of_another_channel_does_not_count(channel: Channel, queue: str) -> None:
    consume_replies(channel.client.channel())
    channel.publish_refused(406, "fast reply consumer does not exist", "", queue, properties={"reply_to": REPLY_TO})


def test_cancelled_reply_consumer_can_be_set_again(channel: Channel, other: Channel, queue: str) -> None:
    consume_replies(channel)
    assert channel.call("basic.cancel", consumer_tag="replies") == {"consumer_tag": "replies"}
    consume_replies(channel)
    other.publish("", reply_name(channel, queue), b"reply")
    assert channel.bodies(1) == [b"reply"]


@pytest.mark.parametrize("passive", [True, False])
def test_declaring_the_bare_name_succeeds(channel: Channel, passive: bool) -> None:
    ok = channel.call("queue.declare", queue=REPLY_TO, passive=passive)
    assert ok == {"queue": REPLY_TO, "message_count": 0, "consumer_count": 1}


@pytest.mark.parametrize("passive", [True, False])
def test_declaring_a_live_reply_name_succeeds(channel: Channel, other: Channel, queue: str, passive: bool) -> None:
    consume_replies(channel)
    name = reply_name(channel, queue)
    ok = other.call("queue.declare", queue=name, passive=passive)
    assert ok == {"queue": name, "message_count": 0, "consumer_count": 1}


@pytest.mark.parametrize("passive", [True, False])
def test_declaring_a_dead_reply_name_is_not_found(
    channel: Channel, other: Channel, queue: str, vhost: str, passive: bool
) -> None:
    consume_replies(channel)
    name = reply_name(channel, queue)
    channel.close()
    other.refused(404, f"no queue '{name}' in vhost '{vhost}'", "queue.declare", queue=name, passive=passive)


def test_reply_to_a_client_that_is_gone_is_dropped(channel: Channel, other: Channel, queue: str) -> None:
    consume_replies(channel)
    name = reply_name(channel, queue)
    channel.client.close()
    other.publish("", name, b"reply")
    other.expect_nothing()
    other.call("basic.qos")


def test_guessed_reply_name_reaches_nobody(channel: Channel, other: Channel, queue: str) -> None:
    consume_replies(channel)
    name = reply_name(channel, queue)
    other.publish("", name[:-2] + ("AA" if name[-2:] != "AA" else "BB"), b"forged")
    other.publish("", name.rsplit(".", 1)[0] + ".AAAAAAAAAAAAAAAAAAAAAA==", b"forged")
    channel.expect_nothing()


@differs(facts.REPLY_RETURNED)
def test_mandatory_reply_to_a_live_client_is_not_returned(channel: Channel, other: Channel, queue: str) -> None:
    consume_replies(channel)
    name = reply_name(channel, queue)
    other.publish("", name, b"reply", mandatory=True)
    assert channel.bodies(1) == [b"reply"]
    other.expect_nothing()


def test_reply_in_a_confirm_channel_is_acked(channel: Channel, other: Channel, queue: str) -> None:
    consume_replies(channel)
    name = reply_name(channel, queue)
    other.call("confirm.select")
    other.publish("", name, b"reply")
    assert other.expect("basic.ack")["delivery_tag"] == 1
    assert channel.bodies(1) == [b"reply"]


# connection.blocked


class Alarm(NamedTuple):
    """A broker that can be made short of disk space."""

    target: Target
    raise_alarm: Callable[[], None]
    clear_alarm: Callable[[], None]


TOO_MUCH, ENOUGH = "1000000000000000", "1000000"


@pytest.fixture(scope="module")
def alarm(broker: BrokerUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alarm]:
    """An amqpd of its own; a RabbitMQ through its rabbitmqctl."""
    if broker.is_rabbitmq:
        if "CONFORMANCE_RABBITMQCTL" not in os.environ:
            pytest.skip("an alarm in RabbitMQ needs CONFORMANCE_RABBITMQCTL and stops all its publishers")
        yield Alarm(
            broker.target,
            lambda: rabbitmqctl("set_disk_free_limit", TOO_MUCH),
            lambda: rabbitmqctl("set_disk_free_limit", ENOUGH),
        )
        rabbitmqctl("set_disk_free_limit", ENOUGH)
        return
    with AmqpdProcess(tmp_path_factory.mktemp("alarm")) as process:
        yield Alarm(
            target_from_url(process.url),
            lambda: process.alarm(True, "disk"),
            lambda: process.alarm(False, "disk"),
        )


@pytest.fixture
def short_of_disk(alarm: Alarm) -> Iterator[Alarm]:
    alarm.raise_alarm()
    yield alarm
    alarm.clear_alarm()


def publish_until_blocked(client: Client) -> dict[str, Any]:
    """Publish until connection.blocked comes, which the alarm may need a moment for; its arguments."""
    channel = client.channel()
    deadline = time.monotonic() + PATIENCE
    while True:
        channel.publish("", "no-such-queue", b"x")
        try:
            return client.expect("connection.blocked", within=0.1)
        except Silence:
            assert time.monotonic() < deadline, "never blocked"


def test_publisher_is_told_that_it_is_blocked_and_unblocked(short_of_disk: Alarm) -> None:
    with Client(short_of_disk.target) as client:
        client.connect()
        assert publish_until_blocked(client) == {"reason": "low on disk"}
        client.expect_nothing()
        short_of_disk.clear_alarm()
        assert client.expect("connection.unblocked") == {}
        client.check_alive()


def test_blocked_publisher_is_not_read_until_it_is_unblocked(short_of_disk: Alarm) -> None:
    with Client(short_of_disk.target) as client:
        publish_until_blocked(client.connect())
        client.send("channel.open", on=9)
        client.expect_nothing(0.5)
        short_of_disk.clear_alarm()
        client.expect("connection.unblocked")
        client.expect("channel.open-ok", on=9)


def test_client_that_does_not_publish_is_not_blocked(short_of_disk: Alarm) -> None:
    with Client(short_of_disk.target) as publisher, Client(short_of_disk.target) as client:
        publish_until_blocked(publisher.connect())
        client.connect().check_alive()
        client.expect_nothing()


def test_publisher_without_the_capability_is_blocked_without_a_word(short_of_disk: Alarm) -> None:
    with Client(short_of_disk.target) as publisher, Client(short_of_disk.target) as client:
        publish_until_blocked(publisher.connect())
        channel = client.connect(capabilities={}).channel()
        channel.publish("", "no-such-queue", b"x")
        channel.send("basic.qos")
        client.expect_nothing(0.5)
        short_of_disk.clear_alarm()
        channel.expect("basic.qos-ok")


# Shutdown


@pytest.fixture
def doomed(broker: BrokerUnderTest, witness: Client, tmp_path: Path) -> Iterator[tuple[Target, Callable[[], None]]]:
    """A broker that may be stopped: its target and what stops it."""
    if broker.is_rabbitmq:
        if "CONFORMANCE_STOP_RABBITMQ" not in os.environ:
            pytest.skip("stops the broker under test: only with CONFORMANCE_STOP_RABBITMQ and _RABBITMQCTL")
        yield broker.target, lambda: rabbitmqctl("stop_app")
        rabbitmqctl("start_app")
        witness.reconnect()
        return
    with AmqpdProcess(tmp_path) as process:
        yield target_from_url(process.url), process.terminate


def test_shutdown_forces_connections_closed(doomed: tuple[Target, Callable[[], None]]) -> None:
    target, stop = doomed
    with Client(target) as client:
        client.connect().channel()
        stop()
        close = client.expect_close_frame()
        check_close(close, 320, "broker forced connection closure with reason 'shutdown'", None)
        client.expect_tcp_close()

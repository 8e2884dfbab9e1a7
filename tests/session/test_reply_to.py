"""Direct reply-to: answers reach the channel that asked, through no declared queue."""

from __future__ import annotations

import pytest

from tests.support.linked import Linked, LinkedClient

PSEUDO = "amq.rabbitmq.reply-to"


@pytest.fixture
def asking(linked: Linked) -> LinkedClient:
    """A client whose channel 1 takes replies; a queue ``rpc`` for its questions."""
    client = linked.client(channels=2)
    client.call("queue.declare", queue="rpc")
    client.send("basic.consume", queue=PSEUDO, consumer_tag="replies", no_ack=True)
    client.expect("basic.consume-ok")
    return client


def ask(asking: LinkedClient, answering: LinkedClient) -> str:
    """Ask; returns where the answer is to go."""
    asking.publish("", "rpc", b"question", {"reply_to": PSEUDO, "correlation_id": "7"})
    answering.send("basic.get", queue="rpc", no_ack=True)
    question = answering.expect("basic.get-ok")
    assert question.properties["correlation_id"] == "7"
    return str(question.properties["reply_to"])


def test_answer_reaches_the_channel_that_asked(linked: Linked, asking: LinkedClient) -> None:
    server = linked.client()
    name = ask(asking, server)
    assert name.startswith(PSEUDO + ".")
    server.publish("", name, b"answer", {"correlation_id": "7"})
    answer = asking.expect("basic.deliver", on=1)
    assert (answer.body, answer.properties) == (b"answer", {"correlation_id": "7"})
    assert (answer.values["consumer_tag"], answer.values["routing_key"]) == ("replies", name)


def test_reply_queue_is_in_no_list(linked: Linked, asking: LinkedClient) -> None:
    assert list(linked.broker.vhosts["/"].queues) == ["rpc"]


def test_answer_to_a_channel_that_is_gone_is_unroutable(linked: Linked, asking: LinkedClient) -> None:
    server = linked.client()
    name = ask(asking, server)
    assert server.call("queue.declare", queue=name, passive=True)["consumer_count"] == 1
    asking.call("channel.close")
    server.publish("", name, b"answer", mandatory=True)
    server.expect("basic.return")
    server.send("queue.declare", queue=name, passive=True)
    assert server.expect("channel.close").values["reply_code"] == 404


def test_answer_to_a_cancelled_consumer_is_unroutable(linked: Linked, asking: LinkedClient) -> None:
    server = linked.client()
    name = ask(asking, server)
    asking.call("basic.cancel", consumer_tag="replies")
    server.publish("", name, b"answer", mandatory=True)
    server.expect("basic.return")


def test_asking_without_a_reply_consumer_is_refused(linked: Linked, asking: LinkedClient) -> None:
    asking.publish("", "rpc", b"question", {"reply_to": PSEUDO}, on=2)
    close = asking.expect("channel.close", on=2).values
    assert close["reply_text"] == "PRECONDITION_FAILED - fast reply consumer does not exist"
    assert (close["class_id"], close["method_id"]) == (60, 40)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"no_ack": False}, "reply consumer cannot acknowledge"),
        ({"no_ack": True, "consumer_tag": "second"}, "reply consumer already set"),
    ],
    ids=["with acks", "second"],
)
def test_reply_consumer_that_is_refused(asking: LinkedClient, values: dict[str, bool], text: str) -> None:
    asking.send("basic.consume", queue=PSEUDO, **values)
    assert asking.expect("channel.close").values["reply_text"] == f"PRECONDITION_FAILED - {text}"


def test_answers_stay_with_a_consumer_that_cannot_take_them(linked: Linked, asking: LinkedClient) -> None:
    server = linked.client()
    name = ask(asking, server)
    asking.call("channel.flow", active=False)
    server.publish("", name, b"1")
    server.publish("", name, b"2")
    asking.send("channel.flow", active=True)
    asking.expect("channel.flow-ok")
    assert asking.bodies() == [b"1", b"2"]

"""Recordings become equal by what does not count, and by nothing else."""

from typing import Any

import pytest

from interop.side_by_side.neutral import Item, neutral

MARK = "abc123-00000001"
NOW = 1_700_000_000.0


def sent(method: str, channel: int = 1, **arguments: Any) -> Item:
    return {"from": "client", "channel": channel, "method": method, "arguments": arguments}


def came(method: str, channel: int = 1, **arguments: Any) -> Item:
    return {**sent(method, channel, **arguments), "from": "server"}


def ack(tag: int, multiple: bool = False) -> Item:
    return came("basic.ack", delivery_tag=tag, multiple=multiple)


def delivery(consumer: str, tag: int = 1, exchange: str = "") -> Item:
    return came("basic.deliver", consumer_tag=consumer, delivery_tag=tag, exchange=exchange)


def header(properties: dict[str, Any], size: int = 0) -> Item:
    return {"from": "server", "channel": 1, "header": 60, "size": size, "properties": properties}


def cleaned(*items: Item) -> list[Item]:
    return neutral([list(items)], MARK, NOW)[0]


def alike(left: list[Item], right: list[Item]) -> bool:
    return cleaned(*left) == cleaned(*right)


# Values


@pytest.mark.parametrize(
    ("value", "left"),
    [
        (f"q-{MARK}-3", "q-3"),
        (f"queue 'q-{MARK}-3' in vhost 'conformance-abc123'", "queue 'q-3' in vhost 'conformance'"),
        ("amq.gen-JzTY20BRgKO-HjmUJj0wLg", "amq.gen-1"),
        ("amq.ctag-JzTY20BRgKO-HjmUJj0wLg", "amq.ctag-1"),
        ("amq.rabbitmq.reply-to.g1h2AA5yZXBseUAxNjY.abc+/==", "amq.rabbitmq.reply-to.1"),
        ("127.0.0.1:50312 -> 127.0.0.1:5672", "127.0.0.1:port -> 127.0.0.1:port"),
        ("<rabbit@host.1.2.3>", "<pid>"),
        (int(NOW) - 30, "now"),
        (int(NOW * 1000) + 30, "now"),
        ("vhost 'v' is down", "vhost 'v' is deleted"),
        ("amq.genuine", "amq.genuine"),
        (5, 5),
        (True, True),
    ],
)
def test_what_was_made_up_is_taken_out(value: Any, left: Any) -> None:
    (item,) = cleaned(came("x", value=value))
    assert item["arguments"]["value"] == left
    assert type(item["arguments"]["value"]) is type(left)


def test_the_node_in_a_table_is_taken_out() -> None:
    (item,) = cleaned(header({"headers": {"node": ["S", "rabbit@host"], "name": ["S", "rabbit@host"]}}))
    assert item["properties"]["headers"] == {"node": ["S", "node"], "name": ["S", "rabbit@host"]}


def test_made_up_names_are_told_from_each_other() -> None:
    first, second = "amq.gen-" + "a" * 22, "amq.gen-" + "b" * 22
    names = [
        item["arguments"]["queue"] for item in cleaned(*(came("x", queue=name) for name in (first, second, first)))
    ]
    assert names == ["amq.gen-1", "amq.gen-2", "amq.gen-1"]


def test_of_what_a_broker_says_of_itself_product_version_and_capabilities_stay() -> None:
    names = ("product", "version", "platform", "copyright", "information", "cluster_name")
    properties = {name: ["S", name] for name in names}
    (item,) = cleaned(came("connection.start", 0, server_properties=properties, mechanisms="PLAIN AMQPLAIN"))
    assert item["arguments"]["server_properties"].keys() == {"product", "version"}


def test_mechanisms_are_a_set() -> None:
    orders = ("PLAIN AMQPLAIN", "AMQPLAIN PLAIN")
    one, other = (cleaned(came("connection.start", server_properties={}, mechanisms=order)) for order in orders)
    assert one == other


def test_a_body_with_a_name_in_it_is_compared_as_text() -> None:
    bodies = [
        {"from": "server", "channel": 1, "body": 20, "text": f"q-{mark}-1", "digest": mark}
        for mark in (MARK, MARK[::-1])
    ]
    one, other = (cleaned(body)[0] for body in bodies)
    assert one == {"from": "server", "channel": 1, "body": 20, "text": "q-1"}
    assert other != one


# Asking again


def looked(count: int) -> list[Item]:
    return [sent("queue.declare", queue="q", passive=True), came("queue.declare-ok", message_count=count)]


def test_of_questions_that_look_the_last_one_counts() -> None:
    assert alike(looked(0) + looked(1) + looked(2), looked(2))
    assert not alike(looked(2), looked(1))


def test_a_declaration_is_no_look() -> None:
    declared = [sent("queue.declare", queue="q", passive=False), came("queue.declare-ok", message_count=0)]
    again = [declared[0], came("queue.declare-ok", message_count=1)]
    assert len(cleaned(*declared, *again)) == 4


def test_a_get_that_found_nothing_and_is_asked_again_is_left_out() -> None:
    get, empty, ok = sent("basic.get", queue="q"), came("basic.get-empty"), came("basic.get-ok", delivery_tag=1)
    assert alike([get, empty, get, empty, get, ok], [get, ok])
    assert not alike([get, empty], [get, ok])


def test_equal_questions_with_equal_answers_are_one() -> None:
    publish = [sent("basic.publish"), {"from": "client", "channel": 1, "header": 60, "size": 0, "properties": {}}]
    assert alike(publish * 5, publish)


def test_a_question_that_was_not_answered_is_not_left_out() -> None:
    question, answer = sent("channel.close"), came("channel.close-ok")
    opened = [sent("channel.open"), came("channel.open-ok")]
    assert not alike([*opened, question, *opened, question, answer], [*opened, question, answer] * 2)
    assert not alike([question, question, answer], [question, answer] * 2)


def test_answers_are_counted() -> None:
    assert not alike([came("basic.return")] * 2, [came("basic.return")])


# Orders


def test_channels_are_independent_of_each_other() -> None:
    assert alike([came("a", 1), came("b", 2)], [came("b", 2), came("a", 1)])


def test_the_order_on_a_channel_counts() -> None:
    assert not alike([came("a"), came("b")], [came("b"), came("a")])


def test_what_the_client_sends_in_between_keeps_its_place() -> None:
    assert not alike([came("a", 1), sent("x"), came("b", 2)], [came("b", 2), sent("x"), came("a", 1)])


def test_deliveries_to_different_consumers_are_independent_and_keep_their_content() -> None:
    one, other = [delivery("a"), header({}, 1)], [delivery("b"), header({}, 2)]
    assert alike(one + other, other + one)
    assert not alike(one + other, [one[0], other[1], other[0], one[1]])


def test_deliveries_to_one_consumer_are_in_order() -> None:
    assert not alike([delivery("a", 1), delivery("a", 2)], [delivery("a", 2), delivery("a", 1)])


def test_a_delivery_does_not_come_before_the_ok_of_its_consumer() -> None:
    ok = came("basic.consume-ok", consumer_tag="a")
    assert not alike([ok, delivery("a")], [delivery("a"), ok])


def test_confirms_may_come_in_any_order_and_many_at_once() -> None:
    assert alike([ack(1), ack(2), ack(3)], [ack(3), ack(1), ack(2)])
    assert alike([ack(1), ack(3, multiple=True)], [ack(3, multiple=True)])
    assert not alike([ack(1), ack(2)], [ack(1)])
    assert not alike([ack(2, multiple=True)], [ack(2)])


def test_a_return_does_not_come_after_the_confirm() -> None:
    assert not alike([came("basic.return"), ack(1)], [ack(1), came("basic.return")])


def test_nacks_are_not_acks() -> None:
    assert not alike([ack(1)], [came("basic.nack", delivery_tag=1, multiple=False)])


# Events


def event(key: str, tag: int, name: str) -> list[Item]:
    deliver = came("basic.deliver", consumer_tag="c", delivery_tag=tag, exchange="amq.rabbitmq.event", routing_key=key)
    return [deliver, header({"headers": {"name": ["S", name]}})]


def test_events_about_something_else_do_not_count_nor_does_their_order() -> None:
    own, more, foreign = f"q-{MARK}-1", f"q-{MARK}-2", "q-abc123-0000000f-1"
    left = event("queue.created", 1, own) + event("queue.deleted", 2, foreign) + event("queue.created", 3, more)
    assert alike(left, event("queue.created", 1, more) + event("queue.created", 2, own))
    assert not alike(left, event("queue.created", 1, own))

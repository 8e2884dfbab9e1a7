"""Policies and operator policies: what is refused, which ones apply, how settings come together (behaviour 2.4).

Each test has queues of its own and policies for their names.
"""

import time
from collections.abc import Callable
from typing import Any

import pytest

from interop import facts

from .broker import Admin, Policy
from .client import Channel
from .conftest import Connect, Names

differs = pytest.mark.differs
keys_are_later = differs(facts.POLICY_KEYS)
kinds_are_later = differs(facts.POLICY_KINDS)

PATIENCE = 30.0

Put = Callable[..., str]


@pytest.fixture
def put(admin: Admin, vhost: str, name: Names) -> Put:
    """Sets a policy for all names that begin with ``stem``: put("q-1", {"max-length": 2}, priority=3) -> its name."""

    def put_policy(stem: str, definition: dict[str, Any], **changes: Any) -> str:
        policy = name("p")
        fields = {"pattern": f"^{stem}", **changes}
        assert not admin.set_policy(vhost, policy, Policy(definition=definition, **fields))
        return policy

    return put_policy


def fill(publisher: Channel, queue: str, count: int) -> list[str]:
    """Publish bodies 0, 1 ... to the queue; what the broker says to each."""
    said = []
    for number in range(count):
        publisher.publish("", queue, b"%d" % number)
        said.append(answer(publisher))
    return said


def answer(publisher: Channel) -> str:
    """``ack`` or ``nack``."""
    frame = publisher.client.next_frame(publisher.number)
    return frame.describe().split(" ")[0].removeprefix("basic.")


def declare(channel: Channel, queue: str, kind: str = "classic", **arguments: Any) -> str:
    table = {"x-queue-type": kind, **arguments}
    channel.call("queue.declare", queue=queue, durable=True, arguments=table)
    return queue


def eventually(channel: Channel, queue: str, count: int) -> None:
    """The queue comes to have so many ready messages; RabbitMQ's queues hear of policies a little later."""
    deadline = time.monotonic() + PATIENCE
    while channel.count(queue)[0] != count:
        assert time.monotonic() < deadline, f"{channel.count(queue)[0]} messages instead of {count}"


# What is refused

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "no policy provided"),
    ({"nope": 3}, '[{<<"nope">>,3}] are not recognised policy settings'),
    (
        {"max-length": 1, "nope": 3, "other": "x"},
        '[{<<"nope">>,3},{<<"other">>,<<"x">>}] are not recognised policy settings',
    ),
    ({"max-priority": 3}, '[{<<"max-priority">>,3}] are not recognised policy settings'),
    ({"max-length": -1}, "-1 is not a valid maximum length"),
    ({"max-length": "a"}, '<<"a">> is not a valid maximum length'),
    ({"max-length": 1.5}, "1.5 is not a valid maximum length"),
    ({"max-length": True}, "true is not a valid maximum length"),
    ({"max-length-bytes": -5}, "-5 is not a valid maximum length in bytes"),
    ({"message-ttl": -1}, "-1 is not a valid message TTL"),
    ({"expires": 0}, "0 is not a valid queue expiry"),
    ({"dead-letter-exchange": 3}, "3 is not a valid dead letter exchange name"),
    ({"dead-letter-routing-key": 3}, "3 is not a valid dead letter routing key"),
    ({"dead-letter-strategy": "x"}, '<<"x">> is not a valid dead letter strategy'),
    ({"alternate-exchange": 3}, "3 is not a valid alternate exchange name"),
    ({"overflow": "x"}, '<<"x">> is not a valid overflow value'),
    ({"delivery-limit": "a"}, '<<"a">> is not a valid delivery limit'),
    ({"max-in-memory-length": -1}, "-1 is not a valid maximum memory in bytes"),
    ({"max-in-memory-bytes": "a"}, '<<"a">> is not a valid maximum memory in bytes'),
    ({"queue-mode": "x"}, '<<"x">> is not a valid queue-mode value'),
    ({"queue-version": 3}, "3 is not a valid queue-version value"),
    ({"queue-leader-locator": "x"}, '<<"x">> is not a valid queue leader locator value'),
]


@pytest.mark.parametrize(("definition", "text"), REFUSED, ids=lambda value: str(value)[:40])
def test_a_wrong_definition_is_refused(admin: Admin, vhost: str, definition: dict[str, Any], text: str) -> None:
    assert admin.set_policy(vhost, "wrong", Policy("^never$", definition)) == text


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        (Policy("[", {"max-length": 1}), "pattern should be regular expression but is invalid: "),
        (Policy("(a", {"max-length": 1}), "pattern should be regular expression but is invalid: "),
        (Policy("a", {"max-length": 1}, apply_to="x"), "apply-to 'x' unrecognised; should be 'queues', 'exchanges'"),
    ],
    ids=["class", "group", "apply-to"],
)
def test_a_wrong_pattern_or_kind_is_refused(admin: Admin, vhost: str, policy: Policy, text: str) -> None:
    assert admin.set_policy(vhost, "wrong", policy).startswith(text)


@pytest.mark.parametrize(
    "definition",
    [
        {"dead-letter-routing-key": "alone"},
        {"message-ttl": 99999999999999},
        {"expires": 99999999999999},
        {"delivery-limit": 0},
        {"ha-mode": "all", "ha-sync-mode": "automatic"},
        {"queue-master-locator": "min-masters"},
        {"max-age": "1D"},
        {"stream-max-segment-size-bytes": 1000},
        {"initial-cluster-size": 1},
        pytest.param({"delivery-limit": -1}, marks=keys_are_later),
        pytest.param({"consumer-timeout": 60000}, marks=keys_are_later),
        pytest.param({"delayed-retry-type": "all", "delayed-retry-min": 1}, marks=keys_are_later),
    ],
    ids=str,
)
def test_what_rabbitmq_takes_is_taken(admin: Admin, vhost: str, name: Names, definition: dict[str, Any]) -> None:
    assert admin.set_policy(vhost, name("p"), Policy("^never$", definition)) == ""


@pytest.mark.parametrize(
    ("definition", "text"),
    [
        ({"expires": 60000, "message-ttl": 1, "max-length": 1, "max-length-bytes": 1}, ""),
        ({"delivery-limit": 3, "max-in-memory-length": 1, "max-in-memory-bytes": 1}, ""),
        (
            {"dead-letter-exchange": "x"},
            '[{<<"dead-letter-exchange">>,<<"x">>}] are not recognised policy settings',
        ),
        ({"max-length": -1}, "-1 is not a valid maximum length"),
        pytest.param({"overflow": "drop-head", "queue-version": 2}, "", marks=keys_are_later),
        pytest.param({"target-group-size": 3}, "", marks=keys_are_later),
    ],
    ids=lambda value: str(value)[:40],
)
def test_operator_policies_have_keys_of_their_own(
    admin: Admin, vhost: str, name: Names, definition: dict[str, Any], text: str
) -> None:
    assert admin.set_policy(vhost, name("p"), Policy("^never$", definition, operator=True)) == text


# How argument, policy and operator policy come together


def number(key: str, value: int | None) -> dict[str, int]:
    return {} if value is None else {key: value}


@pytest.mark.parametrize("kind", ["classic", "quorum"])
@pytest.mark.parametrize(
    ("argument", "policy", "operator", "kept"),
    [
        (5, None, None, 5),
        (None, 3, None, 3),
        (None, None, 2, 2),
        (5, 3, 2, 2),
        (2, 3, 5, 2),
        (3, 2, 5, 2),
        (5, None, 3, 3),
        (3, 5, None, 3),
    ],
)
def test_the_smallest_length_counts(
    channel: Channel,
    publisher: Channel,
    put: Put,
    name: Names,
    kind: str,
    argument: int | None,
    policy: int | None,
    operator: int | None,
    kept: int,
) -> None:
    queue = name(kind)
    for value, of_operator in ((policy, False), (operator, True)):
        if value is not None:
            put(queue, number("max-length", value), operator=of_operator)
    declare(channel, queue, kind, **number("x-max-length", argument))
    fill(publisher, queue, 8)
    eventually(channel, queue, kept)
    assert channel.drain(queue) == [b"%d" % body for body in range(8 - kept, 8)]


@pytest.mark.parametrize(
    ("argument", "policy", "operator", "stays"),
    [
        (60000, 60000, 60000, True),
        (0, 60000, 60000, False),
        (60000, 0, 60000, False),
        (60000, 60000, 0, False),
        (None, 0, None, False),
        (None, None, 0, False),
    ],
)
def test_the_smallest_ttl_counts(
    channel: Channel,
    publisher: Channel,
    put: Put,
    name: Names,
    argument: int | None,
    policy: int | None,
    operator: int | None,
    stays: bool,
) -> None:
    queue = name("q")
    for value, of_operator in ((policy, False), (operator, True)):
        if value is not None:
            put(queue, number("message-ttl", value), operator=of_operator)
    declare(channel, queue, "classic", **number("x-message-ttl", argument))
    fill(publisher, queue, 1)
    eventually(channel, queue, int(stays))


def test_the_smallest_expiry_counts(channel: Channel, vhost: str, put: Put, name: Names) -> None:
    by_policy, by_argument, by_operator, stays = (name(stem) for stem in ("policy", "argument", "operator", "stays"))
    put(by_policy, {"expires": 200})
    put(by_argument, {"expires": 60000})
    put(by_operator, {"expires": 60000})
    put(by_operator, {"expires": 200}, operator=True)
    put(stays, {"expires": 60000})
    for queue, argument in ((by_policy, 60000), (by_argument, 200), (by_operator, 60000), (stays, 60000)):
        declare(channel, queue, "classic", **{"x-expires": argument})
    channel.expect_nothing(1.0)
    for queue in (by_policy, by_argument, by_operator):
        expect_gone(channel, queue, vhost)
    assert channel.count(stays) == (0, 0)


def expect_gone(channel: Channel, queue: str, vhost: str) -> None:
    """The queue has expired. A busy machine may be late: then asking was using it, and it is asked again later."""
    deadline = time.monotonic() + PATIENCE
    while True:
        asking = channel.client.channel()
        asking.send("queue.declare", queue=queue, passive=True)
        came = asking.client.next_frame(asking.number)
        asking.client.put_back(came)
        if not came.describe().startswith("queue.declare-ok"):
            asking.expect_close(404, f"no queue '{queue}' in vhost '{vhost}'", "queue.declare")
            return
        asking.expect("queue.declare-ok")
        assert time.monotonic() < deadline, f"{queue} does not expire"
        channel.expect_nothing(1.0)


@pytest.mark.parametrize(
    ("argument", "policy", "said"),
    [
        (None, "reject-publish", ["ack", "nack"]),
        ("drop-head", "reject-publish", ["ack", "ack"]),
        ("reject-publish", "drop-head", ["ack", "nack"]),
    ],
)
def test_the_arguments_overflow_counts(
    channel: Channel, publisher: Channel, put: Put, name: Names, argument: str | None, policy: str, said: list[str]
) -> None:
    queue = name("q")
    put(queue, {"max-length": 1, "overflow": policy})
    declare(channel, queue, **({} if argument is None else {"x-overflow": argument}))
    assert fill(publisher, queue, 2) == said


@differs(facts.OPERATOR_OVERFLOW)
def test_the_operators_overflow_counts_before_the_policys(
    channel: Channel, publisher: Channel, put: Put, name: Names
) -> None:
    queue = name("q")
    put(queue, {"max-length": 1, "overflow": "drop-head"})
    put(queue, {"overflow": "reject-publish"}, operator=True)
    declare(channel, queue)
    assert fill(publisher, queue, 2) == ["ack", "nack"]


@pytest.mark.parametrize("kind", ["classic", "quorum"])
@pytest.mark.parametrize(
    ("arguments", "policy", "where"),
    [
        ({}, {"dead-letter-exchange": "", "dead-letter-routing-key": "{p}"}, "p"),
        (
            {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "{a}"},
            {"dead-letter-exchange": "nowhere", "dead-letter-routing-key": "{p}"},
            "a",
        ),
        ({"x-dead-letter-exchange": ""}, {"dead-letter-exchange": "nowhere", "dead-letter-routing-key": "{p}"}, "p"),
    ],
    ids=["policy", "argument", "one of each"],
)
def test_the_arguments_dead_letter_exchange_and_key_count(
    channel: Channel,
    publisher: Channel,
    put: Put,
    name: Names,
    kind: str,
    arguments: dict[str, str],
    policy: dict[str, str],
    where: str,
) -> None:
    targets = {letter: declare(channel, name(letter)) for letter in "ap"}
    queue = name("q")
    put(queue, {key: value.format(**targets) for key, value in policy.items()})
    declare(channel, queue, kind, **{key: value.format(**targets) for key, value in arguments.items()})
    fill(publisher, queue, 1)
    message = channel.get(queue, no_ack=False)
    assert message is not None
    channel.send("basic.reject", delivery_tag=message.tag, requeue=False)
    eventually(channel, targets[where], 1)


@pytest.mark.parametrize(
    ("argument", "policy", "operator", "limit"),
    [(None, 1, None, 1), (3, 1, None, 1), (1, 3, None, 1), (3, 3, 1, 1), (None, None, 2, 2)],
)
def test_the_smallest_delivery_limit_counts(
    channel: Channel,
    publisher: Channel,
    put: Put,
    name: Names,
    argument: int | None,
    policy: int | None,
    operator: int | None,
    limit: int,
) -> None:
    queue = name("q")
    for value, of_operator in ((policy, False), (operator, True)):
        if value is not None:
            put(queue, number("delivery-limit", value), operator=of_operator)
    declare(channel, queue, "quorum", **number("x-delivery-limit", argument))
    fill(publisher, queue, 1)
    channel.call("basic.consume", queue=queue)
    for tag in range(1, limit + 2):
        assert channel.message().tag == tag
        channel.send("basic.reject", delivery_tag=tag, requeue=True)
    channel.expect_nothing()


@pytest.mark.parametrize("own", [False, True], ids=["policy", "argument"])
def test_the_arguments_alternate_exchange_counts(channel: Channel, put: Put, name: Names, own: bool) -> None:
    exchange, mine, theirs = name("e"), name("mine"), name("theirs")
    for alternate in (mine, theirs):
        channel.call("exchange.declare", exchange=alternate, type="fanout")
        declare(channel, alternate)
        channel.call("queue.bind", queue=alternate, exchange=alternate)
    put(exchange, {"alternate-exchange": theirs}, apply_to="exchanges")
    table = {"alternate-exchange": mine} if own else {}
    channel.call("exchange.declare", exchange=exchange, type="direct", arguments=table)
    channel.publish(exchange, "unbound", b"x")
    eventually(channel, mine if own else theirs, 1)


# Which policy applies


def limit_of(channel: Channel, publisher: Channel, queue: str, kind: str = "classic") -> int:
    """How many of eight messages the queue keeps."""
    declare(channel, queue, kind)
    fill(publisher, queue, 8)
    return len(channel.drain(queue))


def test_the_one_with_the_highest_priority_applies_alone(
    channel: Channel, publisher: Channel, put: Put, name: Names
) -> None:
    queue = name("q")
    put(queue, {"max-length": 1}, priority=-1)
    put(queue, {"max-length": 3}, priority=7)
    put(queue, {"max-length-bytes": 1}, priority=3)
    assert limit_of(channel, publisher, queue) == 3


def test_a_pattern_is_searched_for_and_an_empty_one_is_found_everywhere(
    admin: Admin, channel: Channel, publisher: Channel, vhost: str, put: Put, name: Names
) -> None:
    queue = name("here")
    put("", {"max-length": 2}, pattern=queue[2:], priority=5)
    assert limit_of(channel, publisher, queue) == 2
    everything = put("", {"max-length": 4}, pattern="", priority=9)
    try:
        assert limit_of(channel, publisher, name("any")) == 4
    finally:
        admin.clear_policy(vhost, everything)


@pytest.mark.parametrize(
    ("apply_to", "kind", "kept"),
    [
        ("queues", "classic", 2),
        ("queues", "quorum", 2),
        ("all", "quorum", 2),
        ("exchanges", "classic", 8),
        pytest.param("classic_queues", "classic", 2, marks=kinds_are_later),
        pytest.param("quorum_queues", "quorum", 2, marks=kinds_are_later),
        pytest.param("quorum_queues", "classic", 8, marks=kinds_are_later),
        pytest.param("streams", "classic", 8, marks=kinds_are_later),
    ],
)
def test_a_policy_is_for_what_it_says(
    channel: Channel, publisher: Channel, put: Put, name: Names, apply_to: str, kind: str, kept: int
) -> None:
    queue = name("q")
    put(queue, {"max-length": 2}, apply_to=apply_to)
    assert limit_of(channel, publisher, queue, kind) == kept


@pytest.mark.parametrize(
    ("key", "value", "classic", "quorum"),
    [
        ("message-ttl", 60000, 2, 2),
        ("expires", 60000, 2, 2),
        ("queue-version", 2, 2, 2),
        ("max-in-memory-length", 2, 2, 2),
        ("dead-letter-exchange", "x", 2, 2),
        ("alternate-exchange", "x", 2, 2),
        ("queue-mode", "lazy", 2, 5),
        ("ha-mode", "all", 2, 5),
        ("queue-master-locator", "client-local", 2, 5),
        ("max-age", "1D", 5, 5),
        ("stream-max-segment-size-bytes", 1000, 5, 5),
        ("initial-cluster-size", 1, 5, 5),
    ],
)
def test_a_policy_with_a_key_of_another_queue_type_is_passed_over(
    channel: Channel, publisher: Channel, put: Put, name: Names, key: str, value: object, classic: int, quorum: int
) -> None:
    stem = name("q")
    put(stem, {"max-length": 2, key: value}, priority=2)
    put(stem, {"max-length": 5}, priority=1)
    kept = [limit_of(channel, publisher, f"{stem}-{kind}", kind) for kind in ("classic", "quorum")]
    assert kept == [classic, quorum]


# Live queues


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_a_policy_changes_a_live_queue_and_its_end_changes_it_back(
    unrecorded: Callable[[str], None],
    admin: Admin,
    channel: Channel,
    publisher: Channel,
    vhost: str,
    put: Put,
    name: Names,
    kind: str,
) -> None:
    unrecorded("it publishes until the policy holds")
    queue = name("q")
    declare(channel, queue, kind)
    fill(publisher, queue, 5)
    policy = put(queue, {"max-length": 3})
    # A quorum queue of RabbitMQ looks at its length when the next message comes.
    fill(publisher, queue, 1)
    eventually(channel, queue, 3)
    declare(channel, queue, kind)  # a policy is no part of what is declared
    admin.clear_policy(vhost, policy)
    deadline = time.monotonic() + PATIENCE
    while channel.count(queue)[0] < 5:
        assert time.monotonic() < deadline
        fill(publisher, queue, 1)


def test_a_policy_of_the_same_name_replaces_the_other(
    unrecorded: Callable[[str], None], admin: Admin, channel: Channel, publisher: Channel, vhost: str, name: Names
) -> None:
    unrecorded("it publishes until the policy holds")
    queue, policy = name("q"), name("p")
    declare(channel, queue)
    assert not admin.set_policy(vhost, policy, Policy(f"^{queue}$", {"max-length": 1, "overflow": "reject-publish"}))
    deadline = time.monotonic() + PATIENCE
    while fill(publisher, queue, 2)[-1] != "nack":
        assert time.monotonic() < deadline
    assert not admin.set_policy(vhost, policy, Policy(f"^{queue}$", {"message-ttl": 60000}))
    while fill(publisher, queue, 2)[-1] != "ack":
        assert time.monotonic() < deadline


def test_a_dead_letter_exchange_comes_and_goes_by_policy(
    unrecorded: Callable[[str], None],
    admin: Admin,
    channel: Channel,
    publisher: Channel,
    vhost: str,
    put: Put,
    name: Names,
) -> None:
    unrecorded("it publishes until the policy holds")
    queue, dead = declare(channel, name("q")), declare(channel, name("dead"))
    policy = put(queue, {"dead-letter-exchange": "", "dead-letter-routing-key": dead, "max-length": 0})
    deadline = time.monotonic() + PATIENCE
    while not channel.count(dead)[0]:
        assert time.monotonic() < deadline
        fill(publisher, queue, 1)
    admin.clear_policy(vhost, policy)
    while not channel.count(queue)[0]:
        assert time.monotonic() < deadline
        fill(publisher, queue, 1)


def test_a_policy_does_not_change_what_another_vhost_has(
    admin: Admin, channel: Channel, connect: Connect, name: Names, put: Put
) -> None:
    elsewhere, queue = name("elsewhere"), name("q")
    admin.add_vhost(elsewhere)
    admin.set_permissions(channel.client.target.user, elsewhere, ".*", ".*", ".*")
    put(queue, {"max-length": 1})
    other = connect(vhost=elsewhere).channel()
    other.call("confirm.select")
    declare(other, queue)
    fill(other, queue, 3)
    assert other.count(queue)[0] == 3
    other.client.sock.close()
    admin.delete_vhost(elsewhere)

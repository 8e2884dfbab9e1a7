"""What streams keep, by arguments and by policies (behaviour 2.3, 2.4)."""

import time
import urllib.error
from collections.abc import Callable
from typing import Any

import pytest

from interop import facts

from .broker import Admin, Policy
from .client import Channel
from .conftest import DeclareStream, Names
from .streams import consume, declared, publish

differs = pytest.mark.differs


# What is kept

# Segments of RabbitMQ that take one or two messages: it lets go of whole ones only.
LITTLE = {"x-max-length-bytes": 5000, "x-stream-max-segment-size-bytes": 1000}
MORE = {"x-max-length-bytes": 15000, "x-stream-max-segment-size-bytes": 1000}
LITTLE_KEPT = range(3, 8)
MORE_KEPT = range(11, 18)
KILOBYTES = [b"%02d" % body + b"x" * 998 for body in range(40)]


@pytest.fixture
def unlike(unrecorded: Callable[[str], None]) -> None:
    unrecorded("how much is kept beyond the limit differs")


def read(channel: Channel, queue: str, last: bytes, where: object = "first") -> list[bytes]:
    """The bodies from there up to the one that is known to be the last."""
    # RabbitMQ drops files a moment later; who comes meanwhile may wait for 30 s, or be hung up on.
    time.sleep(0.4)
    reader = channel.client.channel()
    consume(reader, queue, where=where)
    bodies = reader.bodies(1)
    while bodies[-1] != last:
        bodies += reader.bodies(1)
    reader.close()
    return bodies


@pytest.mark.usefixtures("unlike")
@pytest.mark.parametrize("where", ["first", 0, 20], ids=str)
def test_the_oldest_messages_go(channel: Channel, publisher: Channel, new_stream: DeclareStream, where: object) -> None:
    stream = new_stream(**LITTLE)
    publish(publisher, stream, *KILOBYTES)
    kept = read(channel, stream, KILOBYTES[-1], where)
    assert len(kept) in LITTLE_KEPT
    assert kept == KILOBYTES[-len(kept) :]


@pytest.mark.usefixtures("unlike")
@pytest.mark.parametrize("publishing", [True, pytest.param(False, marks=differs(facts.STREAM_AGE))])
def test_what_is_too_old_goes(
    channel: Channel, publisher: Channel, new_stream: DeclareStream, publishing: bool
) -> None:
    stream = new_stream(**{"x-max-age": "1s", "x-stream-max-segment-size-bytes": 1000})
    publish(publisher, stream, *KILOBYTES[:5])
    assert read(channel, stream, KILOBYTES[4]) == KILOBYTES[:5]
    time.sleep(2)
    if publishing:
        publish(publisher, stream, *KILOBYTES[5:8])
        assert read(channel, stream, KILOBYTES[7]) == KILOBYTES[5:8]
    else:
        assert read(channel, stream, KILOBYTES[4]) == KILOBYTES[4:5]


# Policies


@pytest.mark.parametrize(
    ("definition", "text"),
    [
        *[({"max-age": age}, f'<<"{age}">> is not a valid max age') for age in ("1", "0s", "1x")],
        *[
            pytest.param({"max-age": age}, f"{shown} is not a valid max age", marks=differs(facts.STREAM_TEXTS))
            for age, shown in (("", "<<>>"), ("long", '<<"long">>'), (5, "5"))
        ],
        ({"stream-max-segment-size-bytes": -1}, "-1 is not a valid segment size"),
        ({"stream-max-segment-size-bytes": "a"}, '<<"a">> is not a valid segment size'),
        ({"stream-max-segment-size-bytes": 3_000_000_001}, "3000000001 is not a valid segment size"),
        ({"initial-cluster-size": -1}, "-1 is not a valid cluster size"),
        ({"initial-cluster-size": "a"}, '<<"a">> is not a valid cluster size'),
    ],
    ids=str,
)
def test_a_wrong_policy_is_refused(admin: Admin, vhost: str, definition: dict[str, Any], text: str) -> None:
    assert said(admin, vhost, "wrong", Policy("^never$", definition)) == text


def said(admin: Admin, vhost: str, name: str, policy: Policy) -> str:
    """The broker's words when it refuses a policy; empty when it is set."""
    try:
        return admin.set_policy(vhost, name, policy)
    except urllib.error.HTTPError as error:
        raise AssertionError(f"HTTP {error.code}") from error


@pytest.mark.parametrize(
    "definition",
    [
        {"max-age": "1Y"},
        {"stream-max-segment-size-bytes": 0},
        {"initial-cluster-size": 0},
        pytest.param({"stream-filter-size-bytes": 16}, marks=differs(facts.STREAM_FILTER)),
    ],
    ids=str,
)
def test_a_policy_for_streams_is_taken(admin: Admin, vhost: str, name: Names, definition: dict[str, Any]) -> None:
    assert said(admin, vhost, name("p"), Policy("^never$", definition)) == ""


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max-age", "1D"),
        ("stream-max-segment-size-bytes", 1000),
        ("initial-cluster-size", 1),
        ("queue-leader-locator", "balanced"),
    ],
)
def test_operator_policies_do_not_have_the_keys_of_streams(
    admin: Admin, vhost: str, name: Names, key: str, value: object
) -> None:
    shown = f'<<"{value}">>' if isinstance(value, str) else str(value)
    text = f'[{{<<"{key}">>,{shown}}}] are not recognised policy settings'
    assert said(admin, vhost, name("p"), Policy("^never$", {key: value}, operator=True)) == text


Kept = Callable[..., int]


@pytest.fixture
def kept(admin: Admin, channel: Channel, publisher: Channel, vhost: str, name: Names, unlike: None) -> Kept:
    """How many of 40 messages of 1000 octets a stream keeps with these policies, of which the last one goes first."""

    def count(*definitions: dict[str, Any], apply_to: str = "queues", operator: bool = False, **arguments: Any) -> int:
        stem = name("s")
        for priority, definition in enumerate(definitions):
            policy = Policy(f"^{stem}", definition, priority, apply_to, operator)
            assert said(admin, vhost, name("p"), policy) == ""
        stream = declared(channel, stem, **arguments)
        publish(publisher, stream, *KILOBYTES)
        return len(read(channel, stream, KILOBYTES[-1]))

    return count


def as_policy(arguments: dict[str, Any]) -> dict[str, Any]:
    return {key.removeprefix("x-"): value for key, value in arguments.items()}


@pytest.mark.parametrize(
    ("apply_to", "applies"),
    [
        ("queues", True),
        ("all", True),
        ("exchanges", False),
        pytest.param("streams", True, marks=differs(facts.POLICY_KINDS)),
        pytest.param("classic_queues", False, marks=differs(facts.POLICY_KINDS)),
        pytest.param("quorum_queues", False, marks=differs(facts.POLICY_KINDS)),
    ],
)
def test_a_policy_is_for_streams_if_it_says_so(kept: Kept, apply_to: str, applies: bool) -> None:
    assert kept(as_policy(LITTLE), apply_to=apply_to) in (LITTLE_KEPT if applies else [len(KILOBYTES)])


@pytest.mark.parametrize(
    ("key", "value", "applies"),
    [
        ("max-age", "1D", True),
        ("initial-cluster-size", 1, True),
        ("queue-leader-locator", "balanced", True),
        ("queue-version", 2, True),
        ("alternate-exchange", "x", True),
        ("message-ttl", 60000, False),
        ("expires", 60000, False),
        ("max-length", 5, False),
        ("max-in-memory-length", 5, False),
        ("overflow", "drop-head", False),
        ("delivery-limit", 5, False),
        ("dead-letter-exchange", "x", False),
        ("queue-mode", "lazy", False),
        ("ha-mode", "all", False),
    ],
)
def test_a_policy_with_a_key_of_other_queues_is_passed_over(kept: Kept, key: str, value: object, applies: bool) -> None:
    count = kept(as_policy(MORE), {**as_policy(LITTLE), key: value})
    assert count in (LITTLE_KEPT if applies else MORE_KEPT)


@pytest.mark.parametrize(
    ("argument", "policy", "expected"), [(MORE, LITTLE, LITTLE_KEPT), (LITTLE, MORE, MORE_KEPT)], ids=["less", "more"]
)
def test_a_policy_counts_before_an_argument(
    kept: Kept, argument: dict[str, Any], policy: dict[str, Any], expected: range
) -> None:
    assert kept(as_policy(policy), **argument) in expected


def test_an_operator_policy_counts_before_an_argument(kept: Kept) -> None:
    assert kept({"max-length-bytes": 5000}, operator=True, **MORE) in LITTLE_KEPT

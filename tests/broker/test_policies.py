"""Policies: what is accepted, which one applies, how settings come together, live queues."""

from __future__ import annotations

import re
from typing import Any

import pytest

from amqpd.broker.policies import KEYS, Applied, Policy, make_policy, queue_settings
from amqpd.wire.table import Field, Table, longstr
from tests.queues.building import Bench, bodies, message, numbered


def policy(
    definition: dict[str, Any],
    name: str = "p",
    pattern: str = ".*",
    priority: int = 0,
    apply_to: str = "queues",
    operator: bool = False,
) -> Policy:
    return make_policy(name, pattern, definition, priority, apply_to, operator)


def number(value: int) -> Field:
    return Field("l", value)


@pytest.mark.parametrize(
    ("definition", "text"),
    [
        ({}, "no policy provided"),
        ({"nope": 3}, '[{<<"nope">>,3}] are not recognised policy settings'),
        (
            {"nope": 3, "other": "x", "max-length": 1},
            '[{<<"nope">>,3},{<<"other">>,<<"x">>}] are not recognised policy settings',
        ),
        ({"max-priority": 3}, '[{<<"max-priority">>,3}] are not recognised policy settings'),
        ({"max-length": -1}, "-1 is not a valid maximum length"),
        ({"max-length": "a"}, '<<"a">> is not a valid maximum length'),
        ({"max-length": 1.5}, "1.5 is not a valid maximum length"),
        ({"max-length": True}, "true is not a valid maximum length"),
        ({"max-length": None}, "null is not a valid maximum length"),
        ({"max-length-bytes": -5}, "-5 is not a valid maximum length in bytes"),
        ({"message-ttl": -1}, "-1 is not a valid message TTL"),
        ({"expires": 0}, "0 is not a valid queue expiry"),
        ({"dead-letter-exchange": 3}, "3 is not a valid dead letter exchange name"),
        ({"dead-letter-routing-key": 3}, "3 is not a valid dead letter routing key"),
        ({"dead-letter-strategy": "x"}, '<<"x">> is not a valid dead letter strategy'),
        ({"alternate-exchange": 3}, "3 is not a valid alternate exchange name"),
        ({"overflow": "x"}, '<<"x">> is not a valid overflow value'),
        ({"delivery-limit": "a"}, '<<"a">> is not a valid delivery limit'),
        ({"queue-mode": "x"}, '<<"x">> is not a valid queue-mode value'),
        ({"queue-version": 3}, "3 is not a valid queue-version value"),
        ({"max-age": "0s"}, '<<"0s">> is not a valid max age'),
        ({"max-age": "x"}, '<<"x">> is not a valid max age'),
        ({"max-age": 5}, "5 is not a valid max age"),
        ({"stream-max-segment-size-bytes": -1}, "-1 is not a valid segment size"),
        ({"stream-max-segment-size-bytes": 3_000_000_001}, "3000000001 is not a valid segment size"),
        ({"initial-cluster-size": -1}, "-1 is not a valid cluster size"),
        ({"queue-leader-locator": "x"}, '<<"x">> is not a valid queue leader locator value'),
    ],
)
def test_what_rabbitmq_refuses_is_refused_with_its_words(definition: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        policy(definition)


def test_operator_policies_take_their_keys_only() -> None:
    allowed = {"max-length": 1, "delivery-limit": 3, "overflow": "drop-head", "target-group-size": 3}
    assert policy(allowed, operator=True)
    with pytest.raises(ValueError, match="are not recognised policy settings"):
        policy({"dead-letter-exchange": "x"}, operator=True)


@pytest.mark.parametrize("key", ["max-age", "stream-max-segment-size-bytes", "initial-cluster-size"])
def test_operators_have_no_keys_of_streams(key: str) -> None:
    value: Any = "1D" if key == "max-age" else 500
    assert policy({key: value})
    with pytest.raises(ValueError, match="are not recognised policy settings"):
        policy({key: value}, operator=True)


@pytest.mark.parametrize("size", [15, 256, "20"])
def test_a_streams_filter_has_its_sizes_in_policies_too(size: Any) -> None:
    assert policy({"stream-filter-size-bytes": 16})
    with pytest.raises(ValueError, match="is not a valid filter size"):
        policy({"stream-filter-size-bytes": size})


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"pattern": "["}, "pattern should be regular expression but is invalid"),
        ({"pattern": 3}, "pattern should be a binary but was 3"),
        ({"apply_to": "x"}, "apply-to 'x' unrecognised; should be 'queues', 'exchanges', 'all'"),
        ({"priority": "a"}, 'priority should be a number, actually was <<"a">>'),
        ({"definition": [1]}, "definition should be an object"),
        ({"name": ""}, "a policy must have a name"),
    ],
)
def test_the_rest_of_a_policy_is_checked(changes: dict[str, Any], text: str) -> None:
    fields: dict[str, Any] = {
        "name": "p",
        "pattern": ".*",
        "definition": {"max-length": 1},
        "priority": 0,
        "apply_to": "queues",
        "operator": False,
    }
    with pytest.raises(ValueError, match=f"^{re.escape(text)}"):
        make_policy(**{**fields, **changes})


def merged(arguments: Table, user: dict[str, Any], operator: dict[str, Any], kind: str = "classic") -> dict[str, Any]:
    applied = Applied(policy(user) if user else None, policy(operator, operator=True) if operator else None)
    return queue_settings(arguments, kind, applied)


@pytest.mark.parametrize("key", ["message-ttl", "expires", "max-length", "max-length-bytes"])
def test_of_numbers_the_smallest_counts(key: str) -> None:
    for argument, user, operator in ((5, 3, 2), (2, 5, 3), (3, 2, 5)):
        assert merged({f"x-{key}": number(argument)}, {key: user}, {key: operator})[key] == 2
    assert merged({}, {key: 4}, {})[key] == 4
    assert merged({}, {}, {key: 4})[key] == 4
    assert key not in merged({}, {}, {})


def test_arguments_win_over_policies_for_texts_and_operators_over_users() -> None:
    for key in ("dead-letter-exchange", "dead-letter-routing-key", "dead-letter-strategy"):
        value = "at-least-once" if key.endswith("strategy") else "b"
        assert merged({f"x-{key}": longstr("a")}, {key: value}, {})[key] == "a"
        assert merged({}, {key: value}, {})[key] == value
    user, operator = {"overflow": "drop-head"}, {"overflow": "reject-publish"}
    assert merged({}, user, operator)["overflow"] == "reject-publish"
    assert merged({"x-overflow": longstr("reject-publish-dlx")}, user, operator)["overflow"] == "reject-publish-dlx"


def test_on_a_stream_policies_go_before_the_argument() -> None:
    """And the smaller one of policy and operator policy counts: seen in what RabbitMQ 3.10.8 keeps of a stream."""
    arguments: Table = {"x-max-age": longstr("2D"), "x-max-length-bytes": number(1000)}
    key = "max-length-bytes"
    assert merged(arguments, {}, {}, "stream") == {"max-age": "2D", key: 1000}
    assert merged(arguments, {"max-age": "3D", key: 2000}, {}, "stream") == {"max-age": "3D", key: 2000}
    assert merged(arguments, {key: 2000}, {key: 3000}, "stream") == {"max-age": "2D", key: 2000}
    assert merged(arguments, {key: 2000}, {key: 500}, "stream")[key] == 500
    assert merged(arguments, {}, {key: 5000}, "stream")[key] == 5000
    assert merged(arguments, {key: 2000}, {key: 5000})[key] == 1000  # no stream
    assert merged({}, {"max-length": 5, "expires": 9}, {"message-ttl": 3}, "stream") == {}


def test_a_negative_delivery_limit_is_none_and_any_other_counts_before_it() -> None:
    key = "delivery-limit"
    assert merged({}, {key: -1}, {key: 7})[key] == 7
    assert merged({"x-delivery-limit": number(-1)}, {key: 3}, {})[key] == 3
    assert merged({"x-delivery-limit": number(-1)}, {}, {})[key] == -1
    assert merged({"x-delivery-limit": number(4)}, {key: 9}, {key: 5})[key] == 4


def test_quorum_queues_have_a_delivery_limit_of_twenty() -> None:
    assert merged({}, {}, {}, "quorum")["delivery-limit"] == 20
    assert merged({}, {"delivery-limit": 50}, {}, "quorum")["delivery-limit"] == 50
    assert "delivery-limit" not in merged({}, {}, {})


def test_a_policy_for_another_queue_type_has_no_effect() -> None:
    assert "queue-mode" not in merged({}, {"queue-mode": "lazy"}, {}, "quorum")
    assert all(row.key in KEYS for row in KEYS.values())


def test_the_highest_priority_applies_and_the_first_name_of_equals() -> None:
    bench = Bench()
    queue = bench.queue("orders")
    for name, priority, limit in (("b", 5, 10), ("a", 5, 20), ("low", 1, 30)):
        bench.vhost.put_policy(policy({"max-length": limit}, name, "^ord", priority), False)
    assert (queue.policy, queue.settings) == ("a", {"max-length": 20})
    bench.vhost.put_policy(policy({"max-length": 5}, "op", "ers$", apply_to="classic_queues", operator=True), True)
    assert (queue.operator_policy, queue.settings) == ("op", {"max-length": 5})
    bench.vhost.drop_policy("a", False)
    assert queue.policy == "b"
    bench.vhost.drop_policy("op", True)
    assert queue.settings == {"max-length": 10}
    with pytest.raises(ValueError, match="policy 'op' does not exist"):
        bench.vhost.drop_policy("op", True)


ALL = ["classic", "quorum", "stream"]


@pytest.mark.parametrize(
    ("apply_to", "applies"),
    [
        ("queues", ALL),
        ("all", ALL),
        ("classic_queues", ["classic"]),
        ("quorum_queues", ["quorum"]),
        ("streams", ["stream"]),
        ("exchanges", []),
    ],
)
def test_a_policy_applies_to_what_it_says(apply_to: str, applies: list[str]) -> None:
    bench = Bench()
    bench.vhost.put_policy(policy({"max-length-bytes": 1}, apply_to=apply_to), False)
    queues = [bench.vhost.declare_queue(kind, kind, True, False, None, {}) for kind in ALL]
    assert [queue.kind for queue in queues if queue.policy] == applies


HA = {"ha-mode": "all", "max-length": 3}


@pytest.mark.parametrize(
    ("definition", "kinds"),
    [
        ({"max-length": 3}, ["classic", "quorum"]),
        ({"delivery-limit": 3}, ["classic", "quorum"]),
        ({"max-length-bytes": 3}, ALL),
        ({"queue-leader-locator": "balanced", "consumer-timeout": 3}, ALL),
        ({"queue-version": 2}, ALL),
        ({"federation-upstream": "x"}, ALL),
        (HA, ["classic"]),
        ({"ha-mode": "all"}, ["classic"]),
        ({"queue-mode": "lazy", "max-length": 3}, ["classic"]),
        ({"queue-master-locator": "min-masters"}, ["classic"]),
        ({"max-age": "1D", "max-length": 3}, []),
        ({"max-age": "1D", "max-length-bytes": 3}, ["stream"]),
        ({"stream-max-segment-size-bytes": 3}, ["stream"]),
        ({"stream-filter-size-bytes": 16}, ["stream"]),
        ({"initial-cluster-size": 1}, ["stream"]),
        *[
            ({key: value, "max-length-bytes": 3}, ["classic", "quorum"])
            for key, value in {
                "expires": 3,
                "message-ttl": 3,
                "dead-letter-exchange": "x",
                "dead-letter-routing-key": "x",
                "dead-letter-strategy": "at-most-once",
                "max-in-memory-length": 3,
                "max-in-memory-bytes": 3,
                "overflow": "drop-head",
                "target-group-size": 3,
            }.items()
        ],
    ],
    ids=str,
)
def test_a_policy_with_a_key_of_another_queue_type_is_not_for_a_queue(
    definition: dict[str, Any], kinds: list[str]
) -> None:
    bench = Bench()
    bench.vhost.put_policy(policy(definition), False)
    applied = {kind: bench.vhost.declare_queue(kind, kind, True, False, None, {}) for kind in ALL}
    assert [kind for kind, queue in applied.items() if queue.policy] == kinds
    if "quorum" not in kinds:
        assert applied["quorum"].settings == {"delivery-limit": 20}
    if "stream" not in kinds:
        assert applied["stream"].settings == {}


def test_the_next_policy_applies_where_the_first_one_is_not_for_the_queue_type() -> None:
    bench = Bench()
    bench.vhost.put_policy(policy(HA, "first", priority=9, apply_to="all"), False)
    bench.vhost.put_policy(policy({"max-length": 4}, "second"), False)
    kinds = ("classic", "quorum")
    assert [bench.vhost.declare_queue(kind, kind, True, False, None, {}).policy for kind in kinds] == [
        "first",
        "second",
    ]
    assert bench.vhost.exchanges["amq.direct"].policy == "first"


def test_a_policy_that_gets_another_pattern_leaves_what_it_applied_to() -> None:
    bench = Bench()
    left, entered, other = (bench.queue(name) for name in ("left", "entered", "other"))
    bench.vhost.put_policy(policy({"max-length": 1}, pattern="^left"), False)
    other.settings["mark"] = 1  # nobody looks at a queue that no changed policy matches
    bench.vhost.put_policy(policy({"max-length": 1}, pattern="^entered"), False)
    assert [queue.policy for queue in (left, entered, other)] == ["", "p", ""]
    assert (left.settings, other.settings) == ({}, {"mark": 1})


def test_a_policy_is_in_force_at_once_and_gone_at_once() -> None:
    bench = Bench()
    queue = bench.queue()
    for body in numbered(5):
        queue.publish(message(body))
    bench.broker.run_turn()
    bench.vhost.put_policy(policy({"max-length": 2}), False)
    bench.broker.run_turn()
    assert queue.message_count() == 2
    bench.vhost.drop_policy("p", False)
    for body in numbered(5, 5):
        queue.publish(message(body))
    bench.broker.run_turn()
    assert bodies(bench.drain(queue)) == numbered(7, 3)


def test_policies_and_parameters_outlive_a_restart() -> None:
    bench = Bench()
    bench.queue()
    bench.vhost.put_policy(policy({"max-length": 2}), False)
    bench.vhost.put_policy(policy({"max-length": 1}, operator=True), True)
    bench.vhost.put_parameter("shovel", "s", '{"a":1}')
    bench.broker.put_global_parameter("g", "3")
    bench.commit()
    again = bench.reopened(False)
    queue = again.vhost.queues["q"]
    assert (queue.policy, queue.operator_policy, queue.settings) == ("p", "p", {"max-length": 1})
    assert again.vhost.parameters == {("shovel", "s"): '{"a":1}'}
    assert again.broker.global_parameters == {"g": "3"}
    again.broker.delete_vhost("/")
    again.broker.drop_global_parameter("g")
    again.commit()
    assert not any(again.disk.definitions.values())


def test_an_alternate_exchange_may_come_by_policy_and_the_argument_wins() -> None:
    bench = Bench()
    plain = bench.vhost.declare_exchange("plain", "fanout", True, False, False, {})
    own = bench.vhost.declare_exchange("own", "fanout", True, False, False, {"alternate-exchange": longstr("mine")})
    bench.vhost.put_policy(policy({"alternate-exchange": "theirs"}, apply_to="exchanges"), False)
    assert (plain.alternate, plain.policy) == ("theirs", "p")
    assert own.alternate == "mine"
    bench.vhost.drop_policy("p", False)
    assert plain.alternate is None

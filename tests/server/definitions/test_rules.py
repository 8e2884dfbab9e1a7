"""Parameters and policies, taken in and shown."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.definitions.support import ADDED, CHANGED, SAME, SKIPPED, export, into, refused, restarted
from tests.support.linked import Linked

POLICY = {
    "vhost": "/",
    "name": "short",
    "pattern": "^q",
    "apply-to": "queues",
    "definition": {"max-length": 1, "overflow": "drop-head"},
    "priority": 3,
}
OPERATOR = {
    "value": {"pattern": "^q", "definition": {"message-ttl": 5000}, "priority": 0, "apply-to": "queues"},
    "vhost": "/",
    "component": "operator_policy",
    "name": "cap",
}
PARAMETER = {"value": {"uri": ["a", None]}, "vhost": "/", "component": "shovel", "name": "s"}
GLOBAL = {"name": "note", "value": {"team": ["a", 1, None, 2.5]}}


@pytest.fixture
def linked() -> Linked:
    return Linked()


@pytest.mark.parametrize(
    ("section", "entry", "change"),
    [
        ("policies", POLICY, {"priority": 4}),
        ("parameters", OPERATOR, {"value": OPERATOR["value"] | {"pattern": "x"}}),  # type: ignore[operator]
        ("parameters", PARAMETER, {"value": "text"}),
        ("global_parameters", GLOBAL, {"value": None}),
    ],
    ids=["policy", "operator policy", "parameter", "global parameter"],
)
def test_each_is_taken_in_shown_and_kept(
    linked: Linked, section: str, entry: dict[str, Any], change: dict[str, Any]
) -> None:
    assert into(linked, section, **entry) is ADDED
    assert into(linked, section, **entry) is SAME
    assert into(linked, section, **entry | change) is CHANGED
    linked.commit()
    linked = restarted(linked)
    assert export(linked)[section] == [entry | change]
    assert into(linked, section, **entry | change) is SAME


def test_imported_policies_are_in_force(linked: Linked) -> None:
    client = linked.client()
    client.call("queue.declare", queue="q1")
    into(linked, "policies", **POLICY)
    into(linked, "parameters", **OPERATOR)
    client.call("queue.declare", queue="q2")
    for name in ("q1", "q2"):
        queue = linked.broker.vhosts["/"].queues[name]
        assert (queue.policy, queue.operator_policy) == ("short", "cap")
        client.publish("", name, b"1")
        client.publish("", name, b"2")
        assert queue.message_count() == 1
    linked.advance(5000)
    assert linked.broker.vhosts["/"].queues["q1"].message_count() == 0


def test_policy_may_leave_out_what_it_is_for(linked: Linked) -> None:
    into(linked, "policies", name="p", vhost="/", pattern="", definition={"expires": 5})
    assert export(linked)["policies"] == [
        {"vhost": "/", "name": "p", "pattern": "", "apply-to": "all", "definition": {"expires": 5}, "priority": 0}
    ]


def test_operator_policy_as_rabbitmqctl_writes_it(linked: Linked) -> None:
    """rabbitmqctl export_definitions of 3.10.8 writes this one object as a list of pairs."""
    value = {"apply-to": "queues", "definition": [["message-ttl", 5000]], "pattern": "^q", "priority": 0}
    into(linked, "parameters", **OPERATOR | {"value": value})
    assert export(linked)["parameters"] == [OPERATOR]


def test_what_was_loaded_at_a_start_is_no_definition(linked: Linked) -> None:
    assert into(linked, "global_parameters", name="imported_definition_hash_value", value="x") is SKIPPED
    assert export(linked)["global_parameters"] == []


@pytest.mark.parametrize(
    ("section", "entry", "reason"),
    [
        ("policies", POLICY | {"pattern": "("}, "pattern should be regular expression but is invalid"),
        ("policies", POLICY | {"pattern": 5}, "'pattern' must be text"),
        ("policies", POLICY | {"definition": {"nope": 1}}, '[{<<"nope">>,1}] are not recognised policy settings'),
        ("policies", POLICY | {"definition": {"max-length": -1}}, "-1 is not a valid maximum length"),
        ("policies", POLICY | {"definition": {}}, "no policy provided"),
        ("policies", POLICY | {"definition": None}, "'definition' is missing"),
        ("policies", POLICY | {"definition": 5}, "'definition' must be an object"),
        ("policies", POLICY | {"priority": "x"}, 'priority should be a number, actually was <<"x">>'),
        ("policies", POLICY | {"priority": None}, "priority should be a number"),
        ("policies", POLICY | {"apply-to": "foo"}, "apply-to 'foo' unrecognised"),
        ("policies", POLICY | {"apply-to": ["queues"]}, "unrecognised"),
        ("policies", POLICY | {"vhost": "nope"}, "vhost 'nope' does not exist"),
        ("policies", POLICY | {"name": ""}, "must have a name"),
        ("policies", POLICY | {"name": "x" * 256}, "longer than 255 bytes"),
        ("parameters", OPERATOR | {"value": {}}, "'pattern' is missing"),
        ("parameters", OPERATOR | {"value": 5}, "'value' must be an object"),
        (
            "parameters",
            OPERATOR | {"value": {"pattern": "", "definition": {"dead-letter-exchange": "x"}}},
            "are not recognised policy settings",
        ),
        ("parameters", {"vhost": "/", "component": "shovel", "name": "n"}, "'value' is missing"),
        ("parameters", PARAMETER | {"component": "nope"}, "component nope not found"),
        ("parameters", {"vhost": "/", "name": "n", "value": 1}, "'component' is missing"),
        ("parameters", PARAMETER | {"vhost": "nope"}, "vhost 'nope' does not exist"),
        ("global_parameters", {"name": "n"}, "'value' is missing"),
        ("global_parameters", {"value": 1}, "'name' is missing"),
        ("global_parameters", {"name": "n", "value": "\ud800"}, "surrogate"),
        ("global_parameters", {"name": "n", "value": float("inf")}, "not finite"),
    ],
)
def test_bad_entry_is_refused(linked: Linked, section: str, entry: dict[str, Any], reason: str) -> None:
    assert reason in refused(linked, section, entry)

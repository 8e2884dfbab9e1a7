"""``amqpd policies`` and ``amqpd parameters`` on the files of a broker that does not run."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.server.conftest import Run


def listed(amqpd: Run, *words: str) -> Any:
    ran = amqpd(*words, "--json")
    assert (ran.status, ran.err) == (0, "")
    return json.loads(ran.out)


def done(amqpd: Run, *words: str) -> str:
    ran = amqpd(*words)
    assert (ran.status, ran.err) == (0, ""), words
    return ran.out


@pytest.fixture
def files(amqpd: Run) -> Run:
    """The command line over a data directory that has its vhost ``/``."""
    done(amqpd, "vhosts", "add", "other")
    return amqpd


def test_a_policy_is_set_shown_replaced_and_cleared(files: Run) -> None:
    definition = '{"max-length": 3, "overflow": "reject-publish"}'
    options = ("--priority", "-2", "--apply-to", "queues")
    assert done(files, "policies", "set", "short", "^a b", definition, *options) == "policy 'short' in vhost '/' set\n"
    policy = {
        "vhost": "/",
        "name": "short",
        "pattern": "^a b",
        "apply-to": "queues",
        "definition": {"max-length": 3, "overflow": "reject-publish"},
        "priority": -2,
    }
    assert listed(files, "policies", "list") == [policy]
    table = done(files, "policies", "list").splitlines()
    assert table[0].split() == ["vhost", "name", "pattern", "apply-to", "definition", "priority"]
    assert "max-length=3, overflow=reject-publish" in table[1]
    done(files, "policies", "set", "short", "", '{"expires": 1000}')
    (replaced,) = listed(files, "policies", "list")
    assert (replaced["pattern"], replaced["apply-to"], replaced["priority"]) == ("", "all", 0)
    assert done(files, "policies", "clear", "short") == "policy 'short' in vhost '/' cleared\n"
    assert listed(files, "policies", "list") == []


def test_operator_policies_and_those_of_other_vhosts_are_apart(files: Run) -> None:
    done(files, "policies", "set", "p", "a", '{"max-length": 1}', "--vhost", "other")
    done(files, "policies", "set", "p", "a", '{"max-length": 2}', "--operator")
    assert [row["vhost"] for row in listed(files, "policies", "list")] == ["other"]
    assert listed(files, "policies", "list", "--vhost", "/") == []
    (operator,) = listed(files, "policies", "list", "--operator")
    assert (operator["vhost"], operator["definition"], operator["apply-to"]) == ("/", {"max-length": 2}, "queues")
    done(files, "policies", "clear", "p", "--operator")
    assert listed(files, "policies", "list", "--operator") == []
    assert len(listed(files, "policies", "list")) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["p", "a", '{"nope": 3}'], '[{<<"nope">>,3}] are not recognised policy settings'),
        (["p", "a", "{}"], "no policy provided"),
        (["p", "a", "[1]"], "definition should be an object"),
        (["p", "a", "{max-length: 1}"], "DEFINITION is no JSON: "),
        (["p", "a", '{"max-length": -1}'], "-1 is not a valid maximum length"),
        (["p", "[", '{"max-length": 1}'], "pattern should be regular expression but is invalid: "),
        (["p", "a", '{"max-length": 1}', "--apply-to", "x"], "apply-to 'x' unrecognised; should be 'queues', "),
        (["p", "a", '{"max-length": 1}', "--vhost", "nope"], "vhost 'nope' does not exist"),
        (["p", "a", '{"max-priority": 1}', "--operator"], '[{<<"max-priority">>,1}] are not recognised policy'),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_will_not_do_is_told_in_one_line_and_nothing_is_set(files: Run, words: list[str], said: str) -> None:
    ran = files("policies", "set", *words)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith(f"amqpd: {said}")
    assert ran.err.count("\n") == 1
    assert listed(files, "policies", "list") == listed(files, "policies", "list", "--operator") == []


def test_a_policy_that_is_not_there_cannot_be_cleared(files: Run) -> None:
    ran = files("policies", "clear", "nope", "--operator")
    assert (ran.status, ran.err) == (1, "amqpd: operator policy 'nope' does not exist in vhost '/'\n")


def test_parameters_of_a_component_and_global_ones(files: Run) -> None:
    done(files, "parameters", "set", "shovel", "s", '{"src-queue": "a"}', "--vhost", "other")
    done(files, "parameters", "set", "-", "note", '"text"')
    assert listed(files, "parameters", "list") == [
        {"vhost": "other", "component": "shovel", "name": "s", "value": {"src-queue": "a"}}
    ]
    assert listed(files, "parameters", "list", "--global") == [{"name": "note", "value": "text"}]
    done(files, "parameters", "clear", "shovel", "s", "--vhost", "other")
    done(files, "parameters", "clear", "-", "note")
    assert listed(files, "parameters", "list") == listed(files, "parameters", "list", "--global") == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["set", "nope", "n", "1"], "component nope not found"),
        (["set", "shovel", "n", "{"], "VALUE is no JSON: "),
        (["clear", "shovel", "n"], "parameter 'n' of component 'shovel' does not exist in vhost '/'"),
        (["clear", "-", "n"], "global parameter 'n' does not exist"),
        (["list", "--vhost", "nope"], "vhost 'nope' does not exist"),
    ],
    ids=str,
)
def test_wrong_parameters_are_told_in_one_line(files: Run, words: list[str], said: str) -> None:
    ran = files("parameters", *words)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith(f"amqpd: {said}")
    assert ran.err.count("\n") == 1


def test_limits_and_the_default_queue_type_of_a_vhost(files: Run) -> None:
    done(files, "vhosts", "limit", "other", "max-queues", "5")
    assert done(files, "vhosts", "default-queue-type", "other", "quorum") == (
        "default queue type of vhost 'other' set to quorum\n"
    )
    (row,) = [row for row in listed(files, "vhosts", "list") if row["name"] == "other"]
    assert (row["limits"], row["default_queue_type"]) == ({"max-queues": 5}, "quorum")
    for words, said in (
        (
            ["vhosts", "limit", "other", "nope", "3"],
            "unknown vhost limit 'nope', known are max-connections, max-queues",
        ),
        (
            ["users", "limit", "guest", "nope", "3"],
            "unknown user limit 'nope', known are max-connections, max-channels",
        ),
        (["vhosts", "default-queue-type", "other", "x"], "queue type 'x' is none of classic, quorum, stream"),
    ):
        ran = files(*words)
        assert (ran.status, ran.err) == (1, f"amqpd: {said}\n")

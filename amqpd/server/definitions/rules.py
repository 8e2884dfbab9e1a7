"""Parameters and policies: entries taken in, and as an export shows them.

RabbitMQ keeps operator policies and the limits of vhosts among the parameters; so does the document.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from amqpd.auth.users import VHOST_LIMITS, Users
from amqpd.broker.broker import Broker
from amqpd.broker.policies import OPERATOR_POLICY, Policy, make_policy
from amqpd.broker.vhost import VHost
from amqpd.server.definitions import access
from amqpd.server.definitions.document import Entry
from amqpd.server.definitions.fields import Fields
from amqpd.server.definitions.target import Target, Verdict
from amqpd.server.rules import check_component

VHOST_LIMITS_COMPONENT: Final = "vhost-limits"
# A global parameter of RabbitMQ's that tells what was loaded at the start; it belongs to its broker alone.
LOADED: Final = "imported_definition_hash_value"


# Parameters


def take_parameter(target: Target, fields: Fields) -> Verdict:
    """What a plugin of RabbitMQ would read is kept, without effect, and exported again."""
    component = fields.name("component")
    if component == VHOST_LIMITS_COMPONENT:
        return access.take_vhost_limits(target, fields)
    vhost, name = target.vhost(fields.text("vhost")), fields.name()
    if component == OPERATOR_POLICY:
        return _put_policy(vhost, name, Fields(fields.table("value")), operator=True)
    check_component(component)
    value = _value(fields)
    existing = vhost.parameters.get((component, name))
    if existing == value:
        return Verdict.SAME
    vhost.put_parameter(component, name, value)
    return Verdict.ADDED if existing is None else Verdict.CHANGED


def take_global_parameter(target: Target, fields: Fields) -> Verdict:
    broker, name, value = target.broker, fields.name(), _value(fields)
    if name == LOADED:
        return Verdict.SKIPPED
    existing = broker.global_parameters.get(name)
    if existing == value:
        return Verdict.SAME
    broker.put_global_parameter(name, value)
    return Verdict.ADDED if existing is None else Verdict.CHANGED


def _value(fields: Fields) -> str:
    """The value as it is stored: any JSON."""
    if "value" not in fields.entry:
        raise ValueError("'value' is missing")
    return json.dumps(fields.entry["value"], separators=(",", ":"), ensure_ascii=False)


def parameter_entries(vhost: VHost, users: Users) -> Iterator[Entry]:
    for name, policy in sorted(vhost.policies.operator_policies.items()):
        yield _parameter(vhost, OPERATOR_POLICY, name, _policy_value(policy))
    if limits := access.limits_of(users.vhost_limits, vhost.name, VHOST_LIMITS):
        yield _parameter(vhost, VHOST_LIMITS_COMPONENT, "limits", limits)
    for (component, name), value in sorted(vhost.parameters.items()):
        yield _parameter(vhost, component, name, json.loads(value))


def _parameter(vhost: VHost, component: str, name: str, value: object) -> Entry:
    return {"value": value, "vhost": vhost.name, "component": component, "name": name}


def global_parameter_entries(broker: Broker) -> list[Entry]:
    return [
        {"name": name, "value": json.loads(value)}
        for name, value in sorted(broker.global_parameters.items())
        if name != LOADED
    ]


# Policies


def take_policy(target: Target, fields: Fields) -> Verdict:
    vhost = target.vhost(fields.text("vhost"))
    return _put_policy(vhost, fields.name(), fields, operator=False)


def _put_policy(vhost: VHost, name: str, fields: Fields, operator: bool) -> Verdict:
    """Raises ValueError with RabbitMQ's text."""
    given = fields.entry
    policy = make_policy(
        name,
        fields.text("pattern"),
        fields.table("definition"),
        given.get("priority", 0),
        given.get("apply-to", "all"),
        operator,
    )
    existing = vhost.policies.of(operator).get(name)
    if existing == policy:
        return Verdict.SAME
    vhost.put_policy(policy, operator)
    return Verdict.ADDED if existing is None else Verdict.CHANGED


def _policy_value(policy: Policy) -> Entry:
    return {
        "pattern": policy.pattern,
        "definition": dict(policy.definition),
        "priority": policy.priority,
        "apply-to": policy.apply_to,
    }


def policy_entries(vhost: VHost) -> Iterator[Entry]:
    for name, policy in sorted(vhost.policies.policies.items()):
        yield {"vhost": vhost.name, "name": name, **_policy_value(policy)}


# What was loaded at the start


def loaded_digest(broker: Broker) -> str:
    """That of the definitions that were loaded completely before; empty when none were."""
    text = broker.global_parameters.get(LOADED)
    return str(json.loads(text)) if text is not None else ""


def remember_digest(broker: Broker, digest: str) -> None:
    if loaded_digest(broker) != digest:
        broker.put_global_parameter(LOADED, json.dumps(digest))

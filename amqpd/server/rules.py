"""The operator's commands over policies, parameters, default queue types and tracing; rows of ``administration``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Protocol

from amqpd.broker.broker import Broker
from amqpd.broker.policies import Policy, make_policy
from amqpd.broker.vhost import VHost

Arguments = Mapping[str, Any]
Row = dict[str, object]

# Components of RabbitMQ's plugins: kept for those who bring them along, without effect. Any other is refused.
COMPONENTS: Final = ("federation-upstream", "federation-upstream-set", "shovel")


class Core(Protocol):
    """What the commands need of the core: its broker is a whole one."""

    @property
    def broker(self) -> object: ...


def policies_set(core: Core, arguments: Arguments) -> None:
    """Set or replace a policy, or with ``operator`` an operator policy. ``definition`` is an object."""
    operator = arguments.get("operator") is True
    policy = make_policy(
        _text(arguments, "name"),
        arguments.get("pattern"),
        arguments.get("definition"),
        arguments.get("priority", 0),
        arguments.get("apply_to", "queues" if operator else "all"),
        operator,
    )
    _vhost(core, arguments).put_policy(policy, operator)


def policies_clear(core: Core, arguments: Arguments) -> None:
    _vhost(core, arguments).drop_policy(_text(arguments, "name"), arguments.get("operator") is True)


def policies_list(core: Core, arguments: Arguments) -> list[Row]:
    """Of one vhost or of all, in order of priority."""
    operator = arguments.get("operator") is True
    return [
        policy_row(vhost.name, policy)
        for vhost in _vhosts(core, arguments)
        for policy in sorted(vhost.policies.of(operator).values(), key=lambda policy: (-policy.priority, policy.name))
    ]


def policy_row(vhost: str, policy: Policy) -> Row:
    """As RabbitMQ's HTTP API and definitions show it."""
    return {
        "vhost": vhost,
        "name": policy.name,
        "pattern": policy.pattern,
        "apply-to": policy.apply_to,
        "definition": dict(policy.definition),
        "priority": policy.priority,
    }


def parameters_set(core: Core, arguments: Arguments) -> None:
    """``value`` is any JSON value; without a vhost the parameter is a global one."""
    value = json.dumps(arguments.get("value"), separators=(",", ":"), ensure_ascii=False)
    name = _text(arguments, "name")
    if arguments.get("component") is None:
        _broker(core).put_global_parameter(name, value)
        return
    component = _text(arguments, "component")
    check_component(component)
    _vhost(core, arguments).put_parameter(component, name, value)


def check_component(component: str) -> None:
    """Raises ValueError with RabbitMQ's text for one that nothing here or there knows."""
    if component not in COMPONENTS:
        raise ValueError(f"component {component} not found")


def parameters_clear(core: Core, arguments: Arguments) -> None:
    name = _text(arguments, "name")
    if arguments.get("component") is None:
        _broker(core).drop_global_parameter(name)
    else:
        _vhost(core, arguments).drop_parameter(_text(arguments, "component"), name)


def parameters_list(core: Core, arguments: Arguments) -> list[Row]:
    """Those of one vhost or of all; with ``global`` the global ones."""
    if arguments.get("global") is True:
        broker = _broker(core)
        return [{"name": name, "value": json.loads(value)} for name, value in sorted(broker.global_parameters.items())]
    return [
        {"vhost": vhost.name, "component": component, "name": name, "value": json.loads(value)}
        for vhost in _vhosts(core, arguments)
        for (component, name), value in sorted(vhost.parameters.items())
    ]


def vhosts_default_queue_type(core: Core, arguments: Arguments) -> None:
    """What a queue declared without x-queue-type is in a vhost; empty for what the configuration says."""
    broker = _broker(core)
    kind = _text(arguments, "type")
    kinds = broker.registry.queue_types.keys() - broker.registry.internal_types
    if kind and kind not in kinds:
        raise ValueError(f"queue type '{kind}' is none of {', '.join(sorted(kinds))}")
    vhost = _vhost(core, arguments)
    metadata = json.loads(vhost.metadata)
    metadata.pop("default_queue_type", None)
    if kind:
        metadata["default_queue_type"] = kind
    broker.describe_vhost(vhost, vhost.description, vhost.tags, json.dumps(metadata, sort_keys=True))


def tracing_on(core: Core, arguments: Arguments) -> None:
    """Copy what passes through a vhost to its trace exchange, until the broker stops (amqpd/session/firehose.py)."""
    _vhost(core, arguments).tracing = True


def tracing_off(core: Core, arguments: Arguments) -> None:
    _vhost(core, arguments).tracing = False


def tracing_list(core: Core, arguments: Arguments) -> list[Row]:
    """Whether each vhost is traced."""
    return [{"vhost": vhost.name, "tracing": vhost.tracing} for vhost in _vhosts(core, arguments)]


def _broker(core: Core) -> Broker:
    assert isinstance(core.broker, Broker)
    return core.broker


def _vhost(core: Core, arguments: Arguments) -> VHost:
    name = _text(arguments, "vhost")
    vhost = _broker(core).vhosts.get(name)
    if vhost is None:
        raise ValueError(f"vhost '{name}' does not exist")
    return vhost


def _vhosts(core: Core, arguments: Arguments) -> list[VHost]:
    if arguments.get("vhost") is not None:
        return [_vhost(core, arguments)]
    return [vhost for _, vhost in sorted(_broker(core).vhosts.items())]


def _text(arguments: Arguments, key: str) -> str:
    value = arguments.get(key)
    if not isinstance(value, str):
        raise ValueError(f"argument '{key}' must be text")
    return value

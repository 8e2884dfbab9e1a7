"""Policies and operator policies: settings for queues and exchanges by name, in force while they run.

1. Of a vhost's policies the one that matches a name and has the highest priority applies, and of its operator
   policies as well; of equal ones the first by name (RabbitMQ leaves that open). They are never put together.
2. What an argument, a policy and an operator policy say of one setting comes together by the ``merge`` of its row in
   amqpd/spec/arguments.py; on a stream what policies say goes before the argument (RabbitMQ 3.10.8, seen). A policy
   that changes is in force at once; what is in a queue keeps its deadline.
3. A policy with a key that queues of a type cannot have is not for them at all, whatever else it says, and another one
   may be (RabbitMQ; its ``ha-mode`` kept many a policy from quorum queues). ``KEYS_OF_OTHERS`` has these keys.
4. Keys of RabbitMQ that mean nothing here (mirroring, federation) are accepted and have no effect, so that definitions
   can be brought along.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, final

from amqpd.broker.batch import Definition
from amqpd.broker.exchange import Exchange
from amqpd.broker.queue import Queue
from amqpd.spec.arguments import (
    AGE,
    ALTERNATE_EXCHANGE,
    CLASSIC,
    FIRST,
    INT,
    LIMIT,
    MILLISECONDS_MAX,
    QUEUE_ARGUMENTS,
    QUORUM,
    STREAM,
    Argument,
    max_age_ms,
)
from amqpd.spec.patterns import compile_pattern
from amqpd.wire.table import Table

Value = int | str
Settings = dict[str, Value]

POLICY: Final = "policy"
OPERATOR_POLICY: Final = "operator_policy"

APPLY_TO: Final = ("queues", "exchanges", "all", "classic_queues", "quorum_queues", "streams")
QUORUM_DELIVERY_LIMIT: Final = 20  # RabbitMQ 4.0
PRIORITY_MAX: Final = (1 << 63) - 1

KEYS: Final[dict[str, Argument]] = {row.key: row for row in QUEUE_ARGUMENTS.values() if row.policy}
OPERATOR_KEYS: Final = frozenset([*(key for key, row in KEYS.items() if row.operator), "target-group-size"])
WITHOUT_EFFECT: Final = frozenset(
    (
        "consumer-disconnected-timeout",
        "federation-upstream",
        "federation-upstream-pattern",
        "federation-upstream-set",
        "ha-mode",
        "ha-params",
        "ha-promote-on-failure",
        "ha-promote-on-shutdown",
        "ha-sync-batch-size",
        "ha-sync-mode",
        "queue-master-locator",
        "target-group-size",
    )
)
_STREAM_KEYS: Final = frozenset(key for key, row in KEYS.items() if row.types == (STREAM,))
_MIRROR_KEYS: Final = frozenset(
    (
        "ha-mode",
        "ha-params",
        "ha-promote-on-failure",
        "ha-promote-on-shutdown",
        "ha-sync-batch-size",
        "ha-sync-mode",
        "queue-master-locator",
        "queue-mode",
    )
)
KEYS_OF_OTHERS: Final[dict[str, frozenset[str]]] = {
    CLASSIC: _STREAM_KEYS,
    QUORUM: _STREAM_KEYS | _MIRROR_KEYS,
    # All that it has no argument for but queue-version, as in RabbitMQ.
    STREAM: _MIRROR_KEYS
    | {"target-group-size"}
    | {key for key, row in KEYS.items() if STREAM not in row.types and key != "queue-version"},
}
NO_KEYS: Final[frozenset[str]] = frozenset()


class Policy(NamedTuple):
    """``definition``: settings by key, as they were given. ``apply_to``: one of ``APPLY_TO``."""

    name: str
    pattern: str
    definition: Mapping[str, Any]
    priority: int
    apply_to: str

    def applies(self, name: str, kinds: tuple[str, ...], foreign: frozenset[str]) -> bool:
        """Whether it is for an object of this name and one of these ``APPLY_TO`` kinds; not with a ``foreign`` key."""
        return self.apply_to in kinds and self.matches(name) and foreign.isdisjoint(self.definition)

    def matches(self, name: str) -> bool:
        return compiled(self.pattern).search(name) is not None


class Applied(NamedTuple):
    """The policies in force for one object; None where there is none."""

    policy: Policy | None
    operator: Policy | None


def make_policy(
    name: str, pattern: object, definition: object, priority: object, apply_to: object, operator: bool
) -> Policy:
    """A checked policy. Raises ValueError with RabbitMQ's text."""
    if not name:
        raise ValueError("a policy must have a name")
    if not isinstance(pattern, str):
        raise ValueError(f"pattern should be a binary but was {shown(pattern)}")
    try:
        compile_pattern(pattern)
    except ValueError as error:
        raise ValueError(f"pattern should be regular expression but is invalid: {error}") from None
    if isinstance(priority, bool) or not isinstance(priority, int | float) or abs(priority) > PRIORITY_MAX:
        raise ValueError(f"priority should be a number, actually was {shown(priority)}")
    if apply_to not in APPLY_TO:
        raise ValueError(f"apply-to '{apply_to}' unrecognised; should be {_listed(APPLY_TO)}")
    assert isinstance(apply_to, str)
    if not isinstance(definition, dict):
        raise ValueError("definition should be an object")
    check_definition(definition, operator)
    return Policy(name, pattern, dict(definition), int(priority), apply_to)


def check_definition(definition: Mapping[str, Any], operator: bool) -> None:
    """Raises ValueError with RabbitMQ's text on a key or a value that will not do."""
    if not definition:
        raise ValueError("no policy provided")
    known = OPERATOR_KEYS if operator else {*KEYS, *WITHOUT_EFFECT, ALTERNATE_EXCHANGE}
    unknown = [(key, value) for key, value in definition.items() if key not in known]
    if unknown:
        pairs = ",".join(f"{{{shown(key)},{shown(value)}}}" for key, value in unknown)
        raise ValueError(f"[{pairs}] are not recognised policy settings")
    for key, value in definition.items():
        if key == ALTERNATE_EXCHANGE:
            if not isinstance(value, str):
                raise ValueError(f"{shown(value)} is not a valid alternate exchange name")
        elif key in KEYS and not _is_valid(KEYS[key], value):
            raise ValueError(f"{shown(value)} is not a valid {KEYS[key].policy}")


def _is_valid(row: Argument, value: object) -> bool:
    if row.kind == INT:
        if not isinstance(value, int) or isinstance(value, bool):
            return False
        # RabbitMQ takes any number of milliseconds in a policy; ours is cut to its limit.
        highest = (1 << 63) - 1 if row.maximum in (0, MILLISECONDS_MAX) else row.maximum
        lowest = 0 if row.name == "x-initial-cluster-size" else row.minimum  # RabbitMQ asks more of the argument only
        return lowest <= value <= highest
    if row.kind == AGE:
        return isinstance(value, str) and max_age_ms(value) is not None
    return isinstance(value, str) and (not row.values or value in row.values)


def _listed(words: Iterable[str]) -> str:
    *most, last = [f"'{word}'" for word in words]
    return f"{', '.join(most)} or {last}"


def shown(value: object) -> str:
    """A JSON value as Erlang writes it."""
    if isinstance(value, str):
        return f'<<"{value}">>' if value else "<<>>"
    if isinstance(value, list):
        return f"[{','.join(map(shown, value))}]"
    return json.dumps(value)


_compiled: dict[str, re.Pattern[str]] = {}


def compiled(pattern: str) -> re.Pattern[str]:
    """The pattern, compiled once; those that are stored were checked when they were put."""
    found = _compiled.get(pattern)
    if found is None:
        if len(_compiled) > 1000:
            _compiled.clear()
        found = _compiled[pattern] = compile_pattern(pattern)
    return found


@final
class Policies:
    """The policies of one vhost, by name."""

    def __init__(self) -> None:
        self.policies: dict[str, Policy] = {}
        self.operator_policies: dict[str, Policy] = {}

    def of(self, operator: bool) -> dict[str, Policy]:
        return self.operator_policies if operator else self.policies

    def every(self) -> list[Policy]:
        return [*self.policies.values(), *self.operator_policies.values()]

    def for_queue(self, name: str, kind: str) -> Applied:
        kinds = ("queues", "all", "streams" if kind == STREAM else f"{kind}_queues")
        foreign = KEYS_OF_OTHERS.get(kind, NO_KEYS)
        return Applied(_best(self.policies, name, kinds, foreign), _best(self.operator_policies, name, kinds, foreign))

    def for_exchange(self, name: str) -> Applied:
        """Operator policies have no settings for exchanges."""
        return Applied(_best(self.policies, name, ("exchanges", "all"), NO_KEYS), None)


def _best(policies: Mapping[str, Policy], name: str, kinds: tuple[str, ...], foreign: frozenset[str]) -> Policy | None:
    matching = [policy for policy in policies.values() if policy.applies(name, kinds, foreign)]
    return min(matching, key=lambda policy: (-policy.priority, policy.name), default=None)


def queue_settings(arguments: Table, kind: str, applied: Applied) -> Settings:
    """What is in force for a queue, by key."""
    settings = settings_of(arguments)
    policy = applied.policy.definition if applied.policy is not None else {}
    operator = applied.operator.definition if applied.operator is not None else {}
    for key, row in KEYS.items():
        if kind not in row.types:
            continue
        values = [value for value in (operator.get(key), policy.get(key)) if value is not None]
        argument = settings.get(key)
        if argument is not None and not (values and kind == STREAM):
            values.insert(0, argument)
        merged = _merged(row, values)
        if merged is not None:
            settings[key] = min(merged, MILLISECONDS_MAX) if row.maximum and isinstance(merged, int) else merged
    if kind == QUORUM:
        settings.setdefault("delivery-limit", QUORUM_DELIVERY_LIMIT)
    return settings


def _merged(row: Argument, values: list[Value]) -> Value | None:
    """``values``: those there are of argument, operator policy and policy, in this order."""
    if not values:
        return None
    if row.merge == FIRST:
        return values[0]
    numbers = [value for value in values if isinstance(value, int)]
    if row.merge == LIMIT:
        limits = [number for number in numbers if number >= 0]
        return min(limits) if limits else -1
    return min(numbers, default=None)


def settings_of(arguments: Table) -> Settings:
    """Arguments as settings: texts, numbers, and 0 or 1 for a bool."""
    settings: Settings = {}
    for name, field in arguments.items():
        if name.startswith("x-"):
            value = field.value
            if field.kind == "S" and isinstance(value, bytes):
                settings[name[2:]] = value.decode("utf-8", "replace")
            elif isinstance(value, int):
                settings[name[2:]] = int(value)
    return settings


def exchange_alternate(exchange: Exchange, applied: Applied) -> str | None:
    """The alternate exchange: the argument wins over the policy; None for none."""
    field = exchange.arguments.get(ALTERNATE_EXCHANGE)
    if field is not None and isinstance(field.value, bytes):
        return field.value.decode("utf-8", "replace")
    named = applied.policy.definition.get(ALTERNATE_EXCHANGE) if applied.policy is not None else None
    return named if isinstance(named, str) else None


def any_matches(policies: Iterable[Policy], name: str) -> bool:
    return any(policy.matches(name) for policy in policies)


def apply_to_queue(policies: Policies, queue: Queue) -> bool:
    """Set what is in force for ``queue``; False when nothing changed."""
    applied = policies.for_queue(queue.name, queue.kind)
    settings = queue_settings(queue.arguments, queue.kind, applied)
    queue.policy = applied.policy.name if applied.policy is not None else ""
    queue.operator_policy = applied.operator.name if applied.operator is not None else ""
    if settings == queue.settings:
        return False
    queue.settings = settings
    return True


def apply_to_exchange(policies: Policies, exchange: Exchange) -> None:
    applied = policies.for_exchange(exchange.name)
    exchange.policy = applied.policy.name if applied.policy is not None else ""
    exchange.alternate = exchange_alternate(exchange, applied)


def definition_of(vhost: str, policy: Policy, operator: bool) -> Definition:
    """The row that makes it durable."""
    return Definition(
        OPERATOR_POLICY if operator else POLICY,
        False,
        {
            "vhost": vhost,
            "name": policy.name,
            "pattern": policy.pattern,
            "apply_to": policy.apply_to,
            "priority": policy.priority,
            "definition": json.dumps(policy.definition, separators=(",", ":"), ensure_ascii=False),
        },
    )


def policy_of(definition: Definition) -> Policy:
    """What ``definition_of`` made. Not checked again: a newer version may know fewer keys."""
    values = definition.values
    settings = json.loads(str(values["definition"]))
    priority = values["priority"]
    assert isinstance(settings, dict)
    assert isinstance(priority, int)
    compile_pattern(str(values["pattern"]))
    return Policy(str(values["name"]), str(values["pattern"]), settings, priority, str(values["apply_to"]))

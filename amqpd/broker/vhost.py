"""A virtual host: its exchanges, queues and bindings, and what happens to the others when one goes.

1. Every change bumps ``Revision``: channels remember routes and permissions only as long as it stands.
2. What is durable is put into the journal; the batch that carries it is what a declaring client waits for.
3. Deleting a queue or an exchange drops its bindings; an auto-delete exchange goes with the last binding *from* it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64

from amqpd.broker.batch import Definition, Scalar
from amqpd.broker.events import INTERNAL, Events
from amqpd.broker.exchange import Binding, BindingKey, Exchange
from amqpd.broker.policies import (
    OPERATOR_POLICY,
    POLICY,
    Policies,
    Policy,
    any_matches,
    apply_to_exchange,
    apply_to_queue,
    definition_of,
)
from amqpd.broker.queue import Consumer, Destination, Queue
from amqpd.broker.shard import Shard
from amqpd.wire.table import Table, encode_table

if TYPE_CHECKING:
    from amqpd.broker.registry import Registry

TRACE: Final = "amq.rabbitmq.trace"  # where the firehose goes (amqpd/session/firehose.py)
# Exchanges every vhost has; name and type.
PREDECLARED: Final = (
    ("", "direct"),
    ("amq.direct", "direct"),
    ("amq.fanout", "fanout"),
    ("amq.topic", "topic"),
    ("amq.headers", "headers"),
    ("amq.match", "headers"),
    (TRACE, "topic"),
)
REPLY_TO: Final = "amq.rabbitmq.reply-to"  # the pseudo-queue of direct reply-to; a reply queue has it as prefix


@final
class Revision:
    """Counts changes of topology and permissions."""

    def __init__(self) -> None:
        self.value: i64 = 0


@final
class VHost:
    """``metadata``: what else RabbitMQ knows of it, as JSON text; the broker reads ``default_queue_type`` of it.

    ``tracing``: the firehose is on (amqpd/session/firehose.py).
    """

    def __init__(self, name: str, shard: Shard, registry: Registry, revision: Revision) -> None:
        self.name: str = name
        self.shard: Shard = shard
        self.events: Events = shard.events
        self.registry: Registry = registry
        self.revision: Revision = revision
        self.deleted: bool = False
        self.restoring: bool = False  # what is declared is what the store holds
        self.description: str = ""
        self.tags: str = ""
        self.metadata: str = "{}"
        self.tracing: bool = False
        self.policies: Policies = Policies()
        # Runtime parameters, by component and name: JSON text. The broker does not look into them.
        self.parameters: dict[tuple[str, str], str] = {}
        self.exchanges: dict[str, Exchange] = {}
        self.queues: dict[str, Queue] = {}
        # Queues of exchanges that keep messages (``internal_queue``): no client sees them.
        self.internal_queues: dict[tuple[str, str], Queue] = {}  # by type and name
        # Reply queues live beside the others: nobody declares, binds or lists them.
        self.reply_queues: dict[str, Queue] = {}
        # Bindings by destination, so that its end does not search every exchange.
        self.bound: dict[Destination, dict[tuple[str, BindingKey], Binding]] = {}
        for exchange, kind in PREDECLARED:
            internal = exchange == TRACE
            self.exchanges[exchange] = registry.exchange_types[kind](name, exchange, True, False, internal, {})

    def default_queue_type(self) -> str:
        """What a queue declared without x-queue-type is here; empty where the vhost does not say."""
        kind = json.loads(self.metadata).get("default_queue_type", "")
        return kind if kind in self.registry.queue_types else ""

    def routable(self, name: str) -> Queue | None:
        """The queue the default exchange reaches by ``name``."""
        queue = self.queues.get(name)
        if queue is None and name.startswith(REPLY_TO):
            queue = self.reply_queues.get(name)
        return queue

    def declare_exchange(
        self, name: str, kind: str, durable: bool, auto_delete: bool, internal: bool, arguments: Table
    ) -> Exchange:
        """Make a new exchange. ``kind`` must be registered."""
        exchange = self.registry.exchange_types[kind](self.name, name, durable, auto_delete, internal, arguments)
        apply_to_exchange(self.policies, exchange)
        self.exchanges[name] = exchange
        self.revision.value += 1
        if not self.restoring:
            exchange.declared(self)
        if self.events.listening:
            self.events.exchange_created(exchange)
        if durable:
            exchange.defined_batch = self.shard.journal.number
            self._define(
                "exchange",
                {
                    "vhost": self.name,
                    "name": name,
                    "type": kind,
                    "auto_delete": int(auto_delete),
                    "internal": int(internal),
                    "arguments": encode_table(arguments),
                },
            )
        return exchange

    def delete_exchange(self, exchange: Exchange) -> None:
        """Delete it with all bindings from and to it."""
        for source in self._take_exchange(exchange):
            self._auto_delete(source)

    def _take_exchange(self, exchange: Exchange) -> list[Exchange]:
        """Returns the exchanges that lost a binding to it."""
        del self.exchanges[exchange.name]
        self.revision.value += 1
        if exchange.durable:
            self._drop("exchange", {"vhost": self.name, "name": exchange.name})
        for binding in list(exchange.bindings.values()):
            self._forget(binding)
        sources = self._take_bindings(exchange)
        exchange.deleted(self)
        if self.events.listening:
            self.events.acted("exchange.deleted", {"name": exchange.name, "vhost": self.name})
        return sources

    def declare_queue(
        self, name: str, kind: str, durable: bool, auto_delete: bool, owner: object, arguments: Table
    ) -> Queue:
        """Make a new queue. ``kind`` must be registered; ``owner`` makes it exclusive."""
        queue = self._make_queue(name, kind, durable, auto_delete, owner, arguments)
        apply_to_queue(self.policies, queue)
        queue.reconfigure(self.registry.queue_features)
        self.queues[name] = queue
        self.revision.value += 1
        if self.events.listening:
            self.events.queue_created(queue)
        return queue

    def internal_queue(self, kind: str, name: str, durable: bool) -> Queue:
        """The queue of this type and name that clients do not see, made where there is none.

        ``kind`` is registered as internal. For an exchange that keeps messages, and by its name: what it journals there
        is restored when it is durable. No policy applies to it, it has no features.
        """
        queue = self.internal_queues.get((kind, name))
        if queue is None:
            queue = self._make_queue(name, kind, durable, False, None, {})
            queue.kind = kind
            self.internal_queues[kind, name] = queue
        return queue

    def drop_internal_queue(self, queue: Queue) -> None:
        """Delete it with everything in it."""
        if self.internal_queues.pop((queue.kind, queue.name), None) is queue:
            if queue.durable:
                self._drop("queue", {"id": int(queue.id)})
            queue.dispose()

    def every_queue(self) -> list[Queue]:
        """Those clients see and the internal ones."""
        return [*self.queues.values(), *self.internal_queues.values()]

    def _make_queue(
        self, name: str, kind: str, durable: bool, auto_delete: bool, owner: object, arguments: Table
    ) -> Queue:
        queue = self.registry.queue_types[kind](self.shard, self.name, name, durable, auto_delete, owner, arguments)
        queue.identify(self.shard.journal.new_ids(queue.levels))
        if durable:
            queue.defined_batch = self.shard.journal.number
            self._define(
                "queue",
                {
                    "id": int(queue.id),
                    "vhost": self.name,
                    "name": name,
                    "auto_delete": int(auto_delete),
                    "type": kind,
                    "arguments": encode_table(arguments),
                    "levels": int(queue.levels),
                },
            )
        return queue

    def delete_queue(self, queue: Queue) -> int:
        """Delete it with its bindings; its consumers hear of it after the turn. Returns its ready messages."""
        count = queue.message_count()
        del self.queues[queue.name]
        self.revision.value += 1
        if queue.durable:
            self._drop("queue", {"id": int(queue.id)})
        for source in self._take_bindings(queue):
            self._auto_delete(source)
        for consumer in list(queue.consumers()):
            queue.cancel(consumer)
            self.shard.cancelled.append(consumer)
            if self.events.listening:
                self.events.consumer_deleted(consumer)
        queue.dispose()
        if self.events.listening:
            self.events.acted("queue.deleted", {"name": queue.name, "vhost": self.name})
        return count

    def bind(self, source: Exchange, destination: Destination, routing_key: str, arguments: Table) -> None:
        """Bind; doing it again changes nothing. Raises what ``Exchange.validate_binding`` raises."""
        source.validate_binding(routing_key, arguments)
        binding = Binding(source, destination, routing_key, arguments)
        if not source.add(binding):
            return
        self.bound.setdefault(destination, {})[source.name, binding.key] = binding
        self.revision.value += 1
        if binding.durable:
            self._define("binding", self._binding_row(binding))
        if not self.restoring:
            source.bound(self, binding)
            if self.events.listeners:
                self.events.look()
            if self.events.listening:
                self.events.binding("created", self, binding)

    def unbind(self, source: Exchange, destination: Destination, routing_key: str, arguments: Table) -> None:
        """Unbind; a binding that is not there is no error."""
        binding = source.bindings.get(Binding(source, destination, routing_key, arguments).key)
        if binding is not None:
            self._forget(binding)
            self._auto_delete(source)

    def lost_consumer(self, consumer: Consumer) -> None:
        """Take a consumer from its queue; an auto-delete queue goes with the last one."""
        queue = consumer.queue
        if queue.deleted:
            return
        unused = queue.cancel(consumer)
        if self.queues.get(queue.name) is not queue:
            return  # a reply queue
        if self.events.listening:
            self.events.consumer_deleted(consumer)
        if unused:
            actor = self.events.act_as(INTERNAL)
            self.delete_queue(queue)
            self.events.actor = actor

    def _take_bindings(self, destination: Destination) -> list[Exchange]:
        """Drop all bindings to ``destination``. Returns the exchanges they came from."""
        bindings = list(self.bound.get(destination, {}).values())
        for binding in bindings:
            self._forget(binding)
        return [binding.source for binding in bindings]

    def _forget(self, binding: Binding) -> None:
        source, destination = binding.source, binding.destination
        if source.remove(binding.key) is None:
            return
        row = self.bound[destination]
        del row[source.name, binding.key]
        if not row:
            del self.bound[destination]
        self.revision.value += 1
        if binding.durable:
            self._drop("binding", self._binding_row(binding))
        if self.events.listening:
            self.events.binding("deleted", self, binding)
            self.events.look()

    def _auto_delete(self, exchange: Exchange) -> None:
        """An exchange lost a binding. A loop, because clients may chain as many exchanges as they like."""
        pending = [exchange]
        while pending:
            source = pending.pop()
            if source.auto_delete and not source.bindings and self.exchanges.get(source.name) is source:
                pending.extend(self._take_exchange(source))

    def _binding_row(self, binding: Binding) -> dict[str, Scalar]:
        return {
            "vhost": self.name,
            "source": binding.source.name,
            "destination_type": binding.destination_type,
            "destination": binding.destination.name,
            "routing_key": binding.routing_key,
            "arguments": binding.arguments_wire,
        }

    def put_policy(self, policy: Policy, operator: bool) -> None:
        """Set a policy, or replace the one of that name; it is in force at once."""
        policies = self.policies.of(operator)
        changed = [policies[policy.name], policy] if policy.name in policies else [policy]
        policies[policy.name] = policy
        definition = definition_of(self.name, policy, operator)
        self._define(definition.kind, definition.values)
        self._apply_changed(changed, policy)
        if self.events.listening:
            self.events.policy_set(self.name, policy, operator)

    def drop_policy(self, name: str, operator: bool) -> None:
        """Raises ValueError when there is none of that name."""
        policy = self.policies.of(operator).pop(name, None)
        if policy is None:
            raise ValueError(f"{'operator ' if operator else ''}policy '{name}' does not exist in vhost '{self.name}'")
        self._drop(OPERATOR_POLICY if operator else POLICY, {"vhost": self.name, "name": name})
        self._apply_changed([policy], None)
        if self.events.listening:
            self.events.policy_cleared(self.name, name, operator)

    def apply_policies(self, changed: list[Policy]) -> None:
        """``changed`` came, went or say something else: what is in force for what they match may have changed, too."""
        self._apply_changed(changed, None)

    def _apply_changed(self, changed: list[Policy], came: Policy | None) -> None:
        """``came``: the one that was set; None where one was cleared."""
        for queue in self.queues.values():
            if not any_matches(changed, queue.name):
                continue
            before = (queue.policy, queue.operator_policy)
            differs = apply_to_queue(self.policies, queue)
            if differs:
                queue.reconfigure(self.registry.queue_features)
            if self.events.listening and (differs or before != (queue.policy, queue.operator_policy)):
                self.events.queue_policy(queue, came)
        for exchange in self.exchanges.values():
            if any_matches(changed, exchange.name):
                apply_to_exchange(self.policies, exchange)
        self.revision.value += 1

    def put_parameter(self, component: str, name: str, value: str) -> None:
        """Set a runtime parameter; ``value`` is JSON text."""
        self.parameters[component, name] = value
        self._define("parameter", {"vhost": self.name, "component": component, "name": name, "value": value})
        if self.events.listening:
            self.events.parameter_set(self.name, component, name, json.loads(value))

    def drop_parameter(self, component: str, name: str) -> None:
        """Raises ValueError when there is none."""
        if self.parameters.pop((component, name), None) is None:
            raise ValueError(f"parameter '{name}' of component '{component}' does not exist in vhost '{self.name}'")
        self._drop("parameter", {"vhost": self.name, "component": component, "name": name})
        if self.events.listening:
            self.events.parameter_cleared(self.name, component, name)

    def drop_settings(self) -> None:
        """The vhost is deleted: its policies and parameters go too."""
        for operator in (False, True):
            for name in list(self.policies.of(operator)):
                self._drop(OPERATOR_POLICY if operator else POLICY, {"vhost": self.name, "name": name})
        for component, name in list(self.parameters):
            self.drop_parameter(component, name)

    def _define(self, kind: str, values: dict[str, Scalar]) -> None:
        self.shard.journal.define(Definition(kind, False, values))

    def _drop(self, kind: str, values: dict[str, Scalar]) -> None:
        self.shard.journal.define(Definition(kind, True, values))

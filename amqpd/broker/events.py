"""What happened, for those who want to know: queues, bindings, logins, policies ... come and go. Hot.

1. Who says that something happened asks first: ``if events.listening: events.acted(...)``. While nobody listens an
   event costs that test and nothing is built.
2. Events are collected, and handed to the listeners at the next turn: a listener may publish, and nothing is
   published from inside a pump or a route. They are as many as the input of one turn made.
3. ``actor`` is who does what happens now. The edges set it (a connection for its input, the control socket for a
   command) and set it back; everything else the broker does by itself.

Names and fields are those of RabbitMQ's event exchange (interop/conformance/test_events.py), so that a listener need
not translate; fields hold plain values, and field tables where a client sent one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, final

from mypy_extensions import mypyc_attr

if TYPE_CHECKING:
    from amqpd.broker.broker import Broker
    from amqpd.broker.exchange import Binding, Exchange
    from amqpd.broker.policies import Policy
    from amqpd.broker.queue import Consumer, Queue
    from amqpd.broker.shard import Shard
    from amqpd.broker.vhost import VHost

# Actors that are no users, in RabbitMQ's words.
INTERNAL: Final = "rmq-internal"
COMMAND_LINE: Final = "rmq-cli"

# Values are str, int, float, bool or None, lists and dicts of them, or field tables (amqpd/wire/table.py).
Fields = dict[str, object]


@final
class Event:
    """``name``: such as ``queue.created``. ``timestamp``: milliseconds since 1970."""

    def __init__(self, name: str, fields: Fields, timestamp: int) -> None:
        self.name: str = name
        self.fields: Fields = fields
        self.timestamp: int = timestamp


@mypyc_attr(allow_interpreted_subclasses=True)
class EventListener:
    """Registered with ``Registry.event_listener``."""

    def wanted(self) -> bool:
        """Whether it listens now. Asked at the start, and whenever a binding came or went."""
        return True

    def heard(self, broker: Broker, events: list[Event]) -> None:
        """What happened since the last turn, in order. It may publish. Never raises."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class Owner:
    """A connection, as far as events name it."""

    def process_id(self) -> str:
        """A text that no other connection has or had; RabbitMQ has an Erlang process id there."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class Trace:
    """A copy of a message that passed; it lies on ``Shard.traces`` until the next turn."""

    def post(self, broker: Broker) -> None:
        """Publish it. Never raises."""
        raise NotImplementedError


@final
class Events:
    """``listening``: somebody wants to know. ``node``: this broker's name. ``started``: seconds since 1970.

    ``pending``: what happened since the last turn.
    """

    def __init__(self, shard: Shard) -> None:
        self.shard: Shard = shard
        self.listening: bool = False
        self.listeners: list[EventListener] = []
        self.active: list[EventListener] = []
        self.pending: list[Event] = []
        self.actor: str = INTERNAL
        self.node: str = "amqpd@localhost"
        self.started: int = 0

    def look(self) -> None:
        """Ask who listens."""
        active: list[EventListener] = []
        for listener in self.listeners:
            if listener.wanted():
                active.append(listener)
        self.active = active
        self.listening = len(active) > 0

    def act_as(self, actor: str) -> str:
        """What happens from now on is this actor's doing. Returns who acted before, to be set again."""
        before = self.actor
        self.actor = actor
        return before

    def acted(self, name: str, fields: Fields) -> None:
        """The actor did it. Called only where somebody is ``listening``."""
        self.emit(name, {"user_who_performed_action": self.actor, **fields})

    def emit(self, name: str, fields: Fields) -> None:
        """It happened, and no actor is named. Called only where somebody is ``listening``."""
        self.pending.append(Event(name, fields, int(self.shard.now)))

    def hand_out(self, broker: Broker) -> None:
        """Tell the listeners; called by the turn."""
        events = self.pending
        self.pending = []
        for listener in self.active:
            listener.heard(broker, events)

    def process_id(self, connection: int, channel: int) -> str:
        """The name of a connection (channel 0) or of a channel, by their numbers."""
        return f"<{self.node}.{self.started}.{connection}.{channel}>"

    # What the fields are

    def exchange_created(self, exchange: Exchange) -> None:
        fields: Fields = {
            "policy": exchange.policy,
            "arguments": exchange.arguments,
            "internal": exchange.internal,
            "auto_delete": exchange.auto_delete,
            "durable": exchange.durable,
            "type": exchange.kind,
            "name": exchange.name,
            "vhost": exchange.vhost,
        }
        self.acted("exchange.created", fields)

    def queue_created(self, queue: Queue) -> None:
        owner = queue.owner
        fields: Fields = {
            "exclusive": owner is not None,
            "owner_pid": owner.process_id() if isinstance(owner, Owner) else "",
            "arguments": queue.arguments,
            "auto_delete": queue.auto_delete,
            "durable": queue.durable,
            "name": queue.name,
            "vhost": queue.vhost,
        }
        if queue.kind != "classic":
            # RabbitMQ says it of quorum queues, and says nothing of their owner: they have none.
            fields["type"] = queue_type(queue)
            del fields["owner_pid"]
        self.acted("queue.created", fields)

    def binding(self, what: str, vhost: VHost, binding: Binding) -> None:
        """``what``: created or deleted."""
        fields: Fields = {
            "vhost": vhost.name,
            "arguments": binding.arguments,
            "routing_key": binding.routing_key,
            "destination_kind": binding.destination_type,
            "destination_name": binding.destination.name,
            "source_kind": "exchange",
            "source_name": binding.source.name,
        }
        self.acted(f"binding.{what}", fields)

    def consumer_created(self, consumer: Consumer) -> None:
        connection, channel = consumer.channel.place()
        fields: Fields = {
            "arguments": consumer.arguments,
            "prefetch_count": int(consumer.prefetch),
            "queue": consumer.queue.name,
            "vhost": consumer.queue.vhost,
            "channel": self.process_id(connection, channel),
            "ack_required": not consumer.no_ack,
            "exclusive": consumer.exclusive,
            "consumer_tag": consumer.tag,
        }
        self.acted("consumer.created", fields)

    def consumer_deleted(self, consumer: Consumer) -> None:
        connection, channel = consumer.channel.place()
        fields: Fields = {
            "queue": consumer.queue.name,
            "vhost": consumer.queue.vhost,
            "channel": self.process_id(connection, channel),
            "consumer_tag": consumer.tag,
        }
        self.acted("consumer.deleted", fields)

    def vhost_created(self, vhost: VHost) -> None:
        """With the exchanges every vhost has."""
        for exchange in vhost.exchanges.values():
            self.exchange_created(exchange)
        fields: Fields = {
            "tags": json.loads(vhost.tags) if vhost.tags else [],
            "description": vhost.description,
            "cluster_state": {self.node: "running"},
            "tracing": vhost.tracing,
            "metadata": vhost.metadata,
            "default_queue_type": vhost.default_queue_type() or "undefined",
            "name": vhost.name,
        }
        self.acted("vhost.created", fields)

    def policy_set(self, vhost: str, policy: Policy, operator: bool) -> None:
        """RabbitMQ calls the one set ``policy.set`` in either case, and says first that a parameter was set."""
        fields = policy_fields(policy)
        if operator:
            self.parameter_set(vhost, "operator_policy", policy.name, fields)
        self.acted("policy.set", {**fields, "vhost": vhost, "name": policy.name})

    def policy_cleared(self, vhost: str, name: str, operator: bool) -> None:
        if operator:
            self.parameter_cleared(vhost, "operator_policy", name)
        kind = "operator.policy" if operator else "policy"
        self.acted(f"{kind}.cleared", {"vhost": vhost, "name": name})

    def queue_policy(self, queue: Queue, policy: Policy | None) -> None:
        """What is in force for ``queue`` changed because ``policy`` was set; None where one was cleared."""
        fields: Fields = policy_fields(policy) if policy is not None else {}
        self.acted(
            "queue.policy.updated" if policy is not None else "queue.policy.cleared",
            {**fields, "type": queue_type(queue), "vhost": queue.vhost, "name": queue.name},
        )

    def parameter_set(self, vhost: str | None, component: str, name: str, value: object) -> None:
        """``vhost`` None: a global one."""
        fields: Fields = {"value": value, "name": name, "component": component}
        if vhost is not None:
            fields["vhost"] = vhost
        self.acted("parameter.set", fields)

    def parameter_cleared(self, vhost: str | None, component: str, name: str) -> None:
        fields: Fields = {"name": name, "component": component}
        if vhost is not None:
            fields["vhost"] = vhost
        self.acted("parameter.cleared", fields)


def queue_type(queue: Queue) -> str:
    """As RabbitMQ names it: rabbit_classic_queue, rabbit_quorum_queue."""
    return f"rabbit_{queue.kind}_queue"


def policy_fields(policy: Policy) -> Fields:
    return {
        "apply-to": policy.apply_to,
        "priority": policy.priority,
        "definition": dict(policy.definition),
        "pattern": policy.pattern,
    }

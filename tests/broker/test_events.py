"""Events: who hears them and when, and whose doing they are. What they say, plugins/event_exchange tests."""

from __future__ import annotations

import pytest

from amqpd.broker.broker import Broker
from amqpd.broker.events import COMMAND_LINE, INTERNAL, Event, EventListener
from amqpd.broker.registry import Registry
from amqpd.store.memory import MemoryStore
from interop.conformance.codec import PROTOCOL_HEADER
from tests.support.linked import PASSWORD, Linked, LinkedClient, method

SYSTEM = "amq.test.system"


class Listener(EventListener):
    """``turns``: what each turn brought. ``asked``: how often it was asked whether it listens."""

    def __init__(self) -> None:
        self.wants = True
        self.asked = 0
        self.turns: list[list[Event]] = []

    def register(self, registry: Registry) -> None:
        registry.event_listener(self)
        registry.system_exchange("/", SYSTEM, "fanout")

    def wanted(self) -> bool:
        self.asked += 1
        return self.wants

    def heard(self, broker: Broker, events: list[Event]) -> None:
        self.turns.append(events)

    def take(self) -> list[tuple[str, object]]:
        """Names and actors of what was heard, and forget it."""
        turns, self.turns = self.turns, []
        return [(event.name, event.fields.get("user_who_performed_action")) for turn in turns for event in turn]


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def linked(listener: Listener) -> Linked:
    return Linked(plugins=[listener.register])


@pytest.fixture
def client(linked: Linked, listener: Listener) -> LinkedClient:
    client = linked.client()
    listener.take()
    return client


def test_nobody_listens_by_default_and_nothing_is_collected() -> None:
    linked = Linked()
    client = linked.client()
    client.connection.receive_data(method("queue.declare", queue="q"))
    assert not linked.broker.events.listening
    assert not linked.broker.events.pending


def test_events_of_one_input_come_together_in_the_next_turn(client: LinkedClient, listener: Listener) -> None:
    client.connection.receive_data(method("queue.declare", queue="q") + method("queue.delete", queue="q"))
    assert listener.turns == []
    assert client.linked.broker.busy()
    client.linked.turn()
    assert [[event.name for event in turn] for turn in listener.turns] == [["queue.created", "queue.deleted"]]
    client.linked.turn()
    assert len(listener.turns) == 1


def test_events_of_a_turn_itself_are_heard_without_another_input(client: LinkedClient, listener: Listener) -> None:
    client.call("queue.declare", queue="q", arguments={"x-expires": 100})
    client.linked.advance(99)
    listener.take()
    client.linked.advance(1)
    assert listener.take() == [("queue.deleted", INTERNAL)]


def test_a_listener_is_asked_again_when_a_binding_comes_or_goes(client: LinkedClient, listener: Listener) -> None:
    client.call("queue.declare", queue="q")
    listener.take()
    asked = listener.asked
    listener.wants = False
    client.call("queue.bind", queue="q", exchange="amq.fanout")
    assert listener.asked == asked + 1
    client.call("queue.declare", queue="r")
    assert listener.take() == []
    listener.wants = True
    client.call("queue.bind", queue="r", exchange="amq.fanout")
    assert listener.take() == [("binding.created", "guest")]
    listener.wants = False
    client.call("queue.unbind", queue="r", exchange="amq.fanout")
    assert not client.linked.broker.events.listening


def test_the_actor_is_the_user_while_an_input_is_handled(linked: Linked, listener: Listener) -> None:
    linked.add_user("other")
    linked.turn()
    listener.take()
    client = linked.client(user="other")
    client.call("queue.declare", queue="q")
    client.call("queue.declare", queue="mine", exclusive=True)
    events = [event for event in listener.take() if event[0].startswith("queue.")]
    assert events == [("queue.created", "other")] * 2
    client.hang_up()
    assert listener.take() == [
        ("channel.closed", "other"),
        ("queue.deleted", INTERNAL),
        ("connection.closed", None),
    ]
    assert linked.broker.events.actor == INTERNAL


def test_the_actor_is_known_where_all_came_in_one_input(linked: Linked, listener: Listener) -> None:
    linked.client().hang_up()  # from now on the password is known, and checked at once
    listener.take()
    hasty = linked.dial()
    hasty.feed(PROTOCOL_HEADER)
    login = {"client_properties": {}, "mechanism": "PLAIN", "response": f"\0guest\0{PASSWORD}".encode()}
    hasty.feed(
        method("connection.start-ok", 0, **login)
        + method("connection.tune-ok", 0, channel_max=2047, frame_max=131072, heartbeat=0)
        + method("connection.open", 0, virtual_host="/")
        + method("channel.open")
        + method("queue.declare", queue="q")
    )
    assert listener.take() == [
        ("user.authentication.success", None),
        ("connection.created", "guest"),
        ("channel.created", "guest"),
        ("queue.created", "guest"),
    ]


def test_a_fault_leaves_no_actor_behind(client: LinkedClient, listener: Listener) -> None:
    client.send("queue.declare", queue="none", passive=True)
    assert client.linked.broker.events.actor == INTERNAL
    assert listener.take() == [("channel.closed", "guest")]
    client.send("channel.close-ok")
    client.feed(b"\x01\x00\x00\x00\x00\x00\x00\x00")
    assert client.linked.broker.events.actor == INTERNAL


def test_what_a_command_does_is_the_command_lines_and_what_it_causes_the_brokers(
    client: LinkedClient, listener: Listener
) -> None:
    client.call("queue.declare", queue="mine", exclusive=True)
    client.call("queue.declare", queue="q")
    listener.take()
    broker = client.linked.broker
    actor = broker.events.act_as(COMMAND_LINE)
    broker.delete_vhost("/")
    broker.events.actor = actor
    client.linked.turn()
    heard = listener.take()
    assert heard[:3] == [("channel.closed", "guest"), ("queue.deleted", INTERNAL), ("queue.deleted", COMMAND_LINE)]
    assert heard[-1] == ("vhost.deleted", COMMAND_LINE)


def test_a_restart_is_no_event(linked: Linked) -> None:
    client = linked.client()
    client.call("queue.declare", queue="q", durable=True)
    client.call("queue.bind", queue="q", exchange=SYSTEM)
    linked.crash()
    assert isinstance(linked.store, MemoryStore)
    listener = Listener()
    again = Linked(MemoryStore(linked.store.disk), plugins=[listener.register])
    again.turn()
    assert listener.take() == []
    assert again.broker.vhosts["/"].exchanges[SYSTEM].bindings
    assert again.broker.events.listening


def test_a_system_exchange_comes_with_its_vhost_and_to_one_that_was_there_before(listener: Listener) -> None:
    old = Linked()
    old.client()
    old.settle()
    old.crash()
    assert isinstance(old.store, MemoryStore)
    linked = Linked(MemoryStore(old.store.disk), plugins=[listener.register])
    exchange = linked.broker.vhosts["/"].exchanges[SYSTEM]
    assert (exchange.kind, exchange.durable, exchange.internal) == ("fanout", True, True)
    linked.broker.delete_vhost("/")
    linked.broker.create_vhost("/")
    assert SYSTEM in linked.broker.vhosts["/"].exchanges


def test_ids_differ_between_connections_channels_and_starts(linked: Linked) -> None:
    events = linked.broker.events
    ids = {events.process_id(1, 0), events.process_id(1, 1), events.process_id(2, 0), events.process_id(11, 0)}
    events.started += 1
    ids.add(events.process_id(1, 0))
    assert len(ids) == 5

"""A core without a broker: real users, a dictionary of vhosts, and connections that are only rows."""

from __future__ import annotations

from typing import NamedTuple

from amqpd.auth.users import Users
from amqpd.broker.batch import Definition
from amqpd.broker.broker import Broker
from amqpd.server.administration import VhostTable


class FakeVhost(NamedTuple):
    description: str

    def default_queue_type(self) -> str:
        return ""


class FakeVhosts:
    """Stands for the broker."""

    def __init__(self, *names: str) -> None:
        self.vhosts = {name: FakeVhost("") for name in names}

    def create_vhost(self, name: str, description: str = "", tags: str = "", metadata: str = "{}") -> None:
        self.vhosts[name] = FakeVhost(description)

    def delete_vhost(self, name: str) -> None:
        del self.vhosts[name]


class FakeLive:
    """A running broker with two connections of alice and one of bob."""

    def __init__(self) -> None:
        self.closed: list[tuple[str, str]] = []
        self.rows: list[dict[str, object]] = [
            {"name": "127.0.0.1:1 -> 127.0.0.1:5672", "user": "alice", "vhost": "/", "channels": 1},
            {"name": "127.0.0.1:2 -> 127.0.0.1:5672", "user": "alice", "vhost": "orders", "channels": 2},
            {"name": "127.0.0.1:3 -> 127.0.0.1:5672", "user": "bob", "vhost": "/", "channels": 3},
        ]

    def status(self) -> dict[str, object]:
        return {"version": "0.0", "connections": len(self.rows)}

    def connections(self) -> list[dict[str, object]]:
        return self.rows

    def close_connection(self, name: str, reason: str) -> None:
        self.closed.append((name, reason))


class FakeCore:
    """``defined`` is what reached the journal, ``commits`` how often it was committed.

    ``broker``: a real one, where a dictionary of vhosts is not enough.
    """

    def __init__(self, live: FakeLive | None = None, broker: Broker | None = None) -> None:
        self.defined: list[Definition] = []
        self.commits = 0
        self.broker: VhostTable = broker if broker is not None else FakeVhosts("/", "orders")
        self.users = Users(self.defined.append)
        self.live = live

    def commit(self) -> None:
        self.commits += 1

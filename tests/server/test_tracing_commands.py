"""``amqpd tracing``: on a core without a process, and on the files of a broker that does not run."""

from __future__ import annotations

from typing import Any

import pytest

from amqpd.server.administration import execute
from amqpd.server.control import CommandRefused
from tests.server.conftest import Run
from tests.server.fake_core import FakeLive
from tests.support.linked import Linked


class Core:
    """A linked broker as commands see it."""

    def __init__(self) -> None:
        self.linked = Linked()
        self.broker = self.linked.broker
        self.users = self.linked.users
        self.live = FakeLive()

    def do(self, command: str, **arguments: Any) -> Any:
        return execute(self, command, arguments)


def test_a_vhost_is_traced_until_it_is_not() -> None:
    core = Core()
    core.broker.create_vhost("other")
    core.do("tracing on", vhost="other")
    assert core.do("tracing list") == [{"vhost": "/", "tracing": False}, {"vhost": "other", "tracing": True}]
    assert core.do("tracing list", vhost="/") == [{"vhost": "/", "tracing": False}]
    core.do("tracing off", vhost="other")
    assert not core.broker.vhosts["other"].tracing


@pytest.mark.parametrize("command", ["tracing on", "tracing off", "tracing list"])
def test_a_vhost_that_is_not_there_is_refused(command: str) -> None:
    with pytest.raises(CommandRefused, match="vhost 'nope' does not exist"):
        Core().do(command, vhost="nope")


@pytest.mark.parametrize("words", [("on",), ("off", "--vhost", "/"), ("list",)])
def test_tracing_needs_a_running_broker(amqpd: Run, words: tuple[str, ...]) -> None:
    ran = amqpd("tracing", *words)
    assert ran.status
    assert "no broker runs with the data directory" in ran.err

"""A plugin with commands of every kind. Tests install a copy of this file as the module ``asking``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from amqpd.broker.broker import Broker
from amqpd.broker.inquiry import Inquiry
from amqpd.broker.registry import Registry
from amqpd.broker.shard import PageSource
from amqpd.server.cli import common_options
from amqpd.server.cli_commands import perform
from amqpd.store.contract import StoreError

ENTRY_POINTS = """
[amqpd.plugins]
asking = asking:register

[amqpd.commands]
ask = asking:ask
"""


class Notes(Inquiry):
    """How many notes are there? It asks ``again`` times more; 0 is the last, -1 cannot be read, -2 has a fault."""

    def __init__(self, again: int, ended: list[Inquiry]) -> None:
        self.again, self.ended, self.found = again, ended, 0

    def read(self, source: PageSource) -> None:
        if self.again == -1:
            raise StoreError("gone")
        if self.again == -2:
            raise RuntimeError("a fault")
        self.found = len(source.notes(1, b"", 10))

    def answer(self) -> object:
        if self.again:
            return Notes(self.again - 1, self.ended)
        return {"notes": self.found, "ended": len(self.ended)}

    def end(self) -> None:
        self.ended.append(self)


def count(broker: Broker, arguments: Mapping[str, Any]) -> object:
    return Notes(arguments["again"], [])


def make_vhost(broker: Broker, arguments: Mapping[str, Any]) -> str:
    return broker.create_vhost("made").name


def refuse(broker: Broker, arguments: Mapping[str, Any]) -> None:
    raise ValueError("not\ntoday")


def fail(broker: Broker, arguments: Mapping[str, Any]) -> object:
    return arguments["nothing"]


def no_json(broker: Broker, arguments: Mapping[str, Any]) -> object:
    return {"broker": broker}


def register(registry: Registry) -> None:
    registry.command("fails", fail)
    registry.command("no json", no_json)
    registry.command("count", count)
    registry.command("vhost", make_vhost, changes=True)
    registry.command("refused", refuse)


@click.command()
@click.argument("command")
@click.argument("again", default=0)
@common_options
def ask(command: str, again: int) -> None:
    """Give a command, and print what comes back as JSON."""
    click.echo(json.dumps(perform(command, again=again)))

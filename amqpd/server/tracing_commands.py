"""Commands that turn the firehose of a vhost on and off; see ``cli_commands`` for how they reach the broker."""

from __future__ import annotations

import click

from amqpd.server.cli import common_options
from amqpd.server.cli_commands import perform, show_done, show_rows

_in_vhost = click.option("--vhost", default="/", show_default=True, metavar="V", help="The vhost.")


@click.group()
@common_options
def tracing() -> None:
    """The firehose: copies of all messages of a vhost, to its exchange amq.rabbitmq.trace."""


@tracing.command("on")
@_in_vhost
@common_options
def tracing_on(vhost: str) -> None:
    """Trace a vhost until it is turned off or the broker stops."""
    perform("tracing on", vhost=vhost)
    show_done(f"vhost '{vhost}' is traced")


@tracing.command("off")
@_in_vhost
@common_options
def tracing_off(vhost: str) -> None:
    """Trace a vhost no longer."""
    perform("tracing off", vhost=vhost)
    show_done(f"vhost '{vhost}' is not traced")


@tracing.command("list")
@common_options
def tracing_list() -> None:
    """Which vhosts are traced."""
    show_rows(perform("tracing list"), "vhost", "tracing")


def add_to(group: click.Group) -> None:
    """Put the commands into the main group."""
    group.add_command(tracing)

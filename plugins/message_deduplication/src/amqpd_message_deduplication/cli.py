"""The command ``amqpd deduplication list``; ``commands`` does what it asks."""

from __future__ import annotations

import click

from amqpd.server.cli import common_options
from amqpd.server.cli_commands import perform, show_rows


@click.group()
@common_options
def deduplication() -> None:
    """Exchanges and queues that drop messages which came before."""


@deduplication.command("list")
@click.option("--vhost", default=None, metavar="V", help="Of this vhost only.")
@common_options
def deduplication_list(vhost: str | None) -> None:
    """List them: how many keys each remembers, and the duplicates it has dropped since the start."""
    show_rows(perform("deduplication list", vhost=vhost), "vhost", "name", "kind", "size", "duplicates")

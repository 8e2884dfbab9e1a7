"""The command ``amqpd plugins``, and the commands that plugins bring.

A plugin's commands are click commands or groups in the entry-point group ``amqpd.commands``. They are looked up when a
word is none of ours, and for ``--help``: everything else starts without looking at what is installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from amqpd.server.cli import REFUSED, Fault, common_options, source
from amqpd.server.cli_commands import show_rows

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP: Final = "amqpd.commands"


@click.group()
@common_options
def plugins() -> None:
    """Extensions of the broker: installed Python packages."""


@plugins.command("list")
@common_options
def plugins_list() -> int:
    """List plugins, what each registers, and whether it is on. Exit status 1: one of them fails."""
    from amqpd.server import plugins as found

    settings = source().load().settings.plugins
    try:
        rows = found.survey(settings, found.installed())
    except found.PluginFailed as error:
        raise Fault(str(error)) from None
    show_rows(rows, "name", "version", "distribution", "state", "registers", "reason")
    return REFUSED if any(row["state"] == "failed" for row in rows) else 0


def names() -> list[str]:
    """Commands of plugins that are in use."""
    return sorted(_entries())


def find(name: str) -> click.Command | None:
    """A plugin's command. Raises Fault when it cannot be loaded."""
    entry = _entries().get(name)
    if entry is None:
        return None
    try:
        loaded = entry.load()
    except Exception as error:
        raise Fault(f"command '{name}' of {_distribution(entry)} cannot be loaded: {error!r}") from None
    if not isinstance(loaded, click.Command):
        raise Fault(f"command '{name}' of {_distribution(entry)} is no click command")
    return loaded


def _entries() -> dict[str, EntryPoint]:
    """By name, those whose plugin is not turned off."""
    from importlib.metadata import entry_points

    from amqpd.server.plugins import GROUP as PLUGINS

    commands = entry_points(group=GROUP)
    if not commands:
        return {}
    disabled = source().load().settings.plugins.disabled
    off = {_distribution(entry) for entry in entry_points(group=PLUGINS) if entry.name in disabled}
    return {entry.name: entry for entry in commands if _distribution(entry) not in off}


def _distribution(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "?"


def add_to(group: click.Group) -> None:
    """Put the command into the main group."""
    group.add_command(plugins)

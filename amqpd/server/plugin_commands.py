"""The command ``amqpd plugins``, and the commands that plugins bring.

A plugin's commands are click commands or groups in the entry-point group ``amqpd.commands``. They are looked up when a
word is none of ours, and for ``--help``: everything else starts without looking at what is installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from amqpd.server.cli import REFUSED, Fault, common_options, source
from amqpd.server.cli_commands import show_rows
from amqpd.server.configuration import ConfigurationError
from amqpd.server.settings import PLUGIN_GROUP

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
    show_rows(rows, "name", "version", "distribution", "state", "reason", "registers")
    return REFUSED if any(row["state"] == "failed" for row in rows) else 0


class Unusable(click.Command):
    """Stands for a command that cannot be loaded, so that the others are there. Raises Fault when it is called."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, short_help="(cannot be used)")
        self.reason = reason

    def make_context(self, *_: Any, **__: Any) -> NoReturn:
        raise Fault(f"command '{self.name}' {self.reason}")


def names() -> list[str]:
    """Commands of plugins that are in use."""
    return sorted(_entries())


def find(name: str) -> click.Command | None:
    """A plugin's command; None when there is none."""
    entries = _entries().get(name)
    if entries is None:
        return None
    brought_by = " and ".join(sorted(map(_distribution, entries)))
    if len(entries) > 1:
        return Unusable(name, f"is brought by {brought_by}: only one of them can be used")
    try:
        loaded = entries[0].load()
    except (Exception, SystemExit) as error:
        return Unusable(name, f"of {brought_by} cannot be loaded: {type(error).__name__}: {error}")
    return loaded if isinstance(loaded, click.Command) else Unusable(name, f"of {brought_by} is no click command")


def _entries() -> dict[str, list[EntryPoint]]:
    """By name, those whose plugin is not turned off; more than one where distributions bring the same."""
    from importlib.metadata import entry_points

    commands = entry_points(group=GROUP)
    off = _turned_off() if commands else set()
    found: dict[str, list[EntryPoint]] = {}
    for entry in commands:
        if _distribution(entry) not in off:
            found.setdefault(entry.name, []).append(entry)
    return found


def _turned_off() -> set[str]:
    """Distributions with a plugin that the configuration turns off."""
    from importlib.metadata import entry_points

    try:
        disabled = source().load().settings.plugins.disabled
    except ConfigurationError:
        return set()  # help is needed most when the configuration is wrong; a command that reads it says so
    return {_distribution(entry) for entry in entry_points(group=PLUGIN_GROUP) if entry.name in disabled}


def _distribution(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "?"


def add_to(group: click.Group) -> None:
    """Put the command into the main group."""
    group.add_command(plugins)

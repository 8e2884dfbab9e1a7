"""Plugins: installed packages that extend the broker, found by their entry points.

An entry point of the group ``amqpd.plugins`` is a function ``def register(registry: Registry) -> None``. An installed
plugin is used unless the configuration turns it off. What is built in registers first, then those that
``plugins.order`` names, then the others by name. One that fails stops the start: a broker without it might refuse
what clients declare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

from amqpd import __version__
from amqpd.broker.broker import Broker
from amqpd.broker.registry import BUILTIN, Registry
from amqpd.broker.shard import PageSource
from amqpd.features import builtin
from amqpd.server import settings
from amqpd.server.administration import COMMANDS
from amqpd.store.contract import StoreError


class PluginFailed(Exception):
    """A plugin cannot be used; one line that says which, and why."""


class Plugin(NamedTuple):
    """``load`` gives the register function; it may raise anything."""

    name: str
    distribution: str
    version: str
    load: Callable[[], object]

    def register(self, registry: Registry) -> None:
        """Raises PluginFailed."""
        with _failures(self), registry.by(self.name):
            function = self.load()
            if not callable(function):
                raise TypeError("its entry point is no function")
            commands, starting = set(registry.commands), len(registry.starting)
            function(registry)
            for name in registry.commands.keys() - commands:
                if name in COMMANDS:  # which would be run in its place
                    raise ValueError(f"command '{name}' is registered already, by amqpd itself")
            registry.starting[starting:] = [partial(self._start, begin) for begin in registry.starting[starting:]]

    def _start(self, begin: Callable[[Broker, PageSource], None], broker: Broker, source: PageSource) -> None:
        """Raises PluginFailed, and StoreError: that is no fault of the plugin."""
        with _failures(self):
            begin(broker, source)


@contextmanager
def _failures(plugin: Plugin) -> Iterator[None]:
    try:
        yield
    except StoreError:
        raise
    except (Exception, SystemExit) as error:  # a module that is really a script leaves, and the broker would with it
        text = " ".join(str(error).split())
        said = text if isinstance(error, ValueError) and text else f"{type(error).__name__}: {text}"
        raise PluginFailed(f"plugin '{plugin.name}' ({plugin.distribution} {plugin.version}) failed: {said}") from error


def installed() -> list[Plugin]:
    """All there are, by name. Raises PluginFailed where two have the same name."""
    from importlib.metadata import entry_points

    found: dict[str, Plugin] = {}
    for entry in entry_points(group=settings.PLUGIN_GROUP):
        about = entry.dist
        plugin = Plugin(entry.name, about.name if about else "?", about.version if about else "?", entry.load)
        other = found.setdefault(entry.name, plugin)
        if other.distribution != plugin.distribution:
            both = " and ".join(sorted((other.distribution, plugin.distribution)))
            raise PluginFailed(f"two plugins are named '{entry.name}': {both}")
    return [found[name] for name in sorted(found)]


def chosen(wanted: settings.Plugins, plugins: Sequence[Plugin]) -> list[Plugin]:
    """Those to use, in their order. Raises PluginFailed when one that must be first is not installed."""
    by_name = {plugin.name: plugin for plugin in plugins}
    for name in wanted.order:
        if name not in by_name:
            known = ", ".join(by_name) or "none"
            raise PluginFailed(f"plugins.order names '{name}', which is not installed; installed are: {known}")
    names = [*dict.fromkeys(wanted.order), *(name for name in by_name if name not in wanted.order)]
    return [by_name[name] for name in names if name not in wanted.disabled]


def unknown(wanted: settings.Plugins, plugins: Sequence[Plugin]) -> list[str]:
    """Names that are turned off and not installed: worth a warning, no more."""
    names = {plugin.name for plugin in plugins}
    return [name for name in wanted.disabled if name not in names]


def registry(wanted: settings.Plugins | None = None, plugins: Sequence[Plugin] | None = None) -> Registry:
    """With what is built in and the plugins in use (``plugins``: instead of those installed). Raises PluginFailed."""
    made = Registry()
    builtin.register(made)
    for plugin in chosen(wanted or settings.Plugins(), installed() if plugins is None else plugins):
        plugin.register(made)
    return made


def survey(wanted: settings.Plugins, plugins: Sequence[Plugin]) -> list[dict[str, object]]:
    """A row for each plugin, what is built in first; ``state`` is on, off or failed, with the ``reason``."""
    made = Registry()
    builtin.register(made)
    rows = [_row(Plugin(BUILTIN, "amqpd", __version__, lambda: builtin.register), "on", "", made)]
    in_use = chosen(wanted, plugins)
    for plugin in in_use:
        try:
            plugin.register(made)
            rows.append(_row(plugin, "on", "", made))
        except PluginFailed as error:
            rows.append(_row(plugin, "failed", str(error), made))
    rows += [_row(plugin, "off", "plugins.disabled names it", made) for plugin in plugins if plugin not in in_use]
    return rows


def _row(plugin: Plugin, state: str, reason: str, made: Registry) -> dict[str, object]:
    return {
        "name": plugin.name,
        "version": plugin.version,
        "distribution": plugin.distribution,
        "state": state,
        "reason": reason,
        "registers": made.owned(plugin.name),
    }

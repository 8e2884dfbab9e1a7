"""Which plugins are used, in which order, and what happens when one fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from amqpd.broker.registry import BUILTIN, Registry
from amqpd.exchanges.fanout import FanoutExchange
from amqpd.server import plugins, settings
from amqpd.server.plugins import Plugin, PluginFailed
from tests.server.conftest import Run


def plugin(name: str, register: object = lambda registry: None) -> Plugin:
    return Plugin(name, f"amqpd-{name}", "1.2", lambda: register)


def adds(kind: str) -> Callable[[Registry], None]:
    return lambda registry: registry.exchange_type(kind, FanoutExchange)


def names(wanted: settings.Plugins, *installed: str) -> list[str]:
    return [one.name for one in plugins.chosen(wanted, [plugin(name) for name in installed])]


def failure(*installed: Plugin) -> str:
    with pytest.raises(PluginFailed) as caught:
        plugins.registry(settings.Plugins(), list(installed))
    return str(caught.value)


def test_what_is_installed_is_used_by_name() -> None:
    assert names(settings.Plugins(), "a", "b", "c") == ["a", "b", "c"]


def test_the_configuration_orders_and_turns_off() -> None:
    assert names(settings.Plugins(order=("c", "b")), "a", "b", "c", "d") == ["c", "b", "a", "d"]
    assert names(settings.Plugins(order=("c",), disabled=("c", "a")), "a", "b", "c") == ["b"]


def test_one_that_must_be_first_must_be_installed() -> None:
    with pytest.raises(PluginFailed, match=r"plugins.order names 'x', which is not installed; installed are: a, b"):
        names(settings.Plugins(order=("x",)), "a", "b")


def test_a_plugin_registers_beside_what_is_built_in() -> None:
    registry = plugins.registry(settings.Plugins(), [plugin("a", adds("x-a"))])
    assert {"direct", "x-a"} <= registry.exchange_types.keys()
    assert registry.owned("a") == ["exchange type x-a"]
    assert "exchange type direct" in registry.owned(BUILTIN)


def test_a_plugin_that_is_off_is_not_even_loaded() -> None:
    def load() -> object:
        raise AssertionError

    registry = plugins.registry(settings.Plugins(disabled=("a",)), [Plugin("a", "amqpd-a", "1", load)])
    assert registry.owned("a") == []


def fails(registry: Registry) -> None:
    raise RuntimeError("no\nway")


def cannot_be_imported() -> object:
    raise ModuleNotFoundError("No module named 'gone'")


@pytest.mark.parametrize(
    ("installed", "line"),
    [
        ([plugin("a", fails)], "plugin 'a' (amqpd-a 1.2) failed: RuntimeError: no way"),
        (
            [Plugin("a", "amqpd-a", "1.2", cannot_be_imported)],
            "plugin 'a' (amqpd-a 1.2) failed: ModuleNotFoundError: No module named 'gone'",
        ),
        ([plugin("a", 7)], "plugin 'a' (amqpd-a 1.2) failed: TypeError: its entry point is no function"),
        (
            [plugin("a", adds("x-a")), plugin("b", adds("x-a"))],
            "plugin 'b' (amqpd-b 1.2) failed: exchange type 'x-a' is registered already, by plugin 'a'",
        ),
        (
            [plugin("a", adds("topic"))],
            "plugin 'a' (amqpd-a 1.2) failed: exchange type 'topic' is registered already, by amqpd itself",
        ),
    ],
)
def test_one_that_fails_says_so_in_one_line(installed: list[Plugin], line: str) -> None:
    assert failure(*installed) == line


def test_a_survey_shows_what_is_on_off_and_failed() -> None:
    installed = [plugin("a", adds("x-a")), plugin("b", fails), plugin("c", adds("x-c"))]
    rows = plugins.survey(settings.Plugins(disabled=("c",)), installed)
    assert [(row["name"], row["state"], row["registers"]) for row in rows[1:]] == [
        ("a", "on", ["exchange type x-a"]),
        ("b", "failed", []),
        ("c", "off", []),
    ]
    assert rows[0]["name"] == BUILTIN
    assert rows[2]["reason"] == "plugin 'b' (amqpd-b 1.2) failed: RuntimeError: no way"


# Entry points, as pip leaves them


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put a distribution with a module and entry points where Python finds it."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def add(name: str, entry_points: str, code: str = "") -> None:
        (site / f"{name}.py").write_text(code)
        about = site / f"{name}-3.1.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 3.1\n")
        (about / "entry_points.txt").write_text(entry_points)

    return add


CODE = """
import click
from amqpd.exchanges.fanout import FanoutExchange

def register(registry):
    registry.exchange_type("x-found", FanoutExchange)

@click.command()
def hello():
    click.echo("hello")
"""


def test_plugins_are_found_by_their_entry_points(install: Callable[..., None], amqpd: Run) -> None:
    install("found_plugin", "[amqpd.plugins]\nfound = found_plugin:register\n", CODE)
    (found,) = [one for one in plugins.installed() if one.name == "found"]
    assert (found.distribution, found.version) == ("found_plugin", "3.1")
    registry = plugins.registry(settings.Plugins(), [found])
    assert "x-found" in registry.exchange_types
    ran = amqpd("plugins", "list")
    assert ran.status == 0
    assert "found_plugin" in ran.out


def test_two_plugins_of_one_name_are_refused(install: Callable[..., None]) -> None:
    install("plugin_one", "[amqpd.plugins]\ntwice = plugin_one:register\n", CODE)
    install("plugin_two", "[amqpd.plugins]\ntwice = plugin_two:register\n", CODE)
    with pytest.raises(PluginFailed, match=r"two plugins are named 'twice': plugin_one and plugin_two"):
        plugins.installed()


def test_commands_of_plugins_are_found(
    install: Callable[..., None], amqpd: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = "[amqpd.plugins]\nfound = found_commands:register\n[amqpd.commands]\nhello = found_commands:hello\n"
    install("found_commands", points, CODE)
    assert amqpd("hello").out == "hello\n"
    assert "  hello" in amqpd("--help").out
    monkeypatch.setenv("AMQPD_PLUGINS__DISABLED", "found")
    assert amqpd("hello").status == 2
    assert "  hello" not in amqpd("--help").out


def test_a_name_that_is_not_installed_is_told(amqpd: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMQPD_PLUGINS__DISABLED", "nope")
    ran = amqpd("check-config")
    assert (ran.status, ran.err) == (0, "warning: plugins.disabled names 'nope', which is not installed\n")
    monkeypatch.setenv("AMQPD_PLUGINS__ORDER", "nope")
    ran = amqpd("check-config")
    assert ran.status == 2
    assert "amqpd.toml: plugins.order names 'nope', which is not installed; installed are: " in ran.err

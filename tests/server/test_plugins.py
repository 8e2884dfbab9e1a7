"""Which plugins are used, in which order, and what happens when one fails."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from amqpd.broker.broker import Broker
from amqpd.broker.registry import BUILTIN, Registry
from amqpd.broker.shard import PageSource
from amqpd.exchanges.fanout import FanoutExchange
from amqpd.server import core, plugins, settings
from amqpd.server.plugins import Plugin, PluginFailed
from amqpd.store.contract import StoreError
from tests.server.conftest import Run
from tests.support import asking_plugin
from tests.support.distributions import lay_out


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


def leaves() -> object:
    raise SystemExit(0)


def takes_a_command_of_ours(registry: Registry) -> None:
    registry.command("users list", lambda broker, arguments: [])


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
        ([Plugin("a", "amqpd-a", "1.2", leaves)], "plugin 'a' (amqpd-a 1.2) failed: SystemExit: 0"),
        (
            [plugin("a", takes_a_command_of_ours)],
            "plugin 'a' (amqpd-a 1.2) failed: command 'users list' is registered already, by amqpd itself",
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


def no_start(broker: Broker, source: PageSource) -> None:
    raise ValueError("not\nwithout my file")


def no_disk(broker: Broker, source: PageSource) -> None:
    raise StoreError("the disk is gone")


def opened(begin: Callable[[Broker, PageSource], None], directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Open a store with one plugin that begins with ``begin``."""
    one = plugin("a", lambda registry: registry.started(begin))
    monkeypatch.setattr(plugins, "installed", lambda: [one])
    default = settings.Settings()
    with core.open_core(replace(default, store=replace(default.store, data_dir=str(directory)))):
        pass


def test_one_that_cannot_begin_says_so_and_the_store_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PluginFailed, match=r"^plugin 'a' \(amqpd-a 1.2\) failed: not without my file$"):
        opened(no_start, tmp_path, monkeypatch)
    with pytest.raises(StoreError, match=r"^the disk is gone$"):
        opened(no_disk, tmp_path, monkeypatch)
    begun: list[Broker] = []
    opened(lambda broker, source: begun.append(broker), tmp_path, monkeypatch)
    assert len(begun) == 1


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


def test_in_a_survey_one_failure_does_not_fail_those_after_it() -> None:
    rows = plugins.survey(settings.Plugins(), [plugin("a", takes_a_command_of_ours), plugin("b", adds("x-b"))])
    assert [(row["name"], row["state"]) for row in rows[1:]] == [("a", "failed"), ("b", "on")]


# Entry points, as pip leaves them


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts a distribution with a module and entry points where Python finds it."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    return partial(lay_out, site, version="3.1")


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


def test_the_list_as_json_tells_what_failed_and_why(install: Callable[..., None], amqpd: Run) -> None:
    install("broken_plugin", "[amqpd.plugins]\nbroken = broken_plugin:register\n", "import gone_for_good\n")
    ran = amqpd("plugins", "list", "--json")
    assert ran.status == 1
    (row,) = [row for row in json.loads(ran.out) if row["name"] == "broken"]
    assert row == {
        "name": "broken",
        "version": "3.1",
        "distribution": "broken_plugin",
        "state": "failed",
        "reason": "plugin 'broken' (broken_plugin 3.1) failed: ModuleNotFoundError: No module named 'gone_for_good'",
        "registers": [],
    }


def test_offline_commands_load_plugins_too(install: Callable[..., None], amqpd: Run) -> None:
    assert amqpd("vhosts", "add", "v").status == 0
    install("broken_plugin", "[amqpd.plugins]\nbroken = broken_plugin:register\n", "import gone_for_good\n")
    ran = amqpd("vhosts", "list")
    assert ran.status == 1
    assert ran.err.startswith("amqpd: plugin 'broken' (broken_plugin 3.1) failed: ModuleNotFoundError: ")


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


def test_help_is_there_whatever_the_configuration_says(
    install: Callable[..., None], amqpd: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("found_commands", "[amqpd.commands]\nhello = found_commands:hello\n", CODE)
    monkeypatch.setenv("AMQPD_PLUGINS__NOPE", "1")
    helped = amqpd("--help")
    assert (helped.status, helped.err) == (0, "")
    assert "  hello" in helped.out


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import gone_for_good", "cannot be loaded: ModuleNotFoundError: No module named 'gone_for_good'"),
        ("raise SystemExit(3)", "cannot be loaded: SystemExit: 3"),
        ("hello = print", "is no click command"),
    ],
)
def test_a_command_that_cannot_be_used_leaves_the_others(
    install: Callable[..., None], amqpd: Run, code: str, said: str
) -> None:
    install("broken_commands", "[amqpd.commands]\nbroken = broken_commands:hello\n", code)
    install("found_commands", "[amqpd.commands]\nhello = found_commands:hello\n", CODE)
    ran = amqpd("broken", "anything", "--at-all")
    assert (ran.status, ran.err) == (1, f"amqpd: command 'broken' of broken_commands {said}\n")
    assert amqpd("hello").out == "hello\n"
    helped = amqpd("--help")
    assert helped.status == 0
    assert "  broken" in helped.out
    assert "  hello" in helped.out


def test_a_command_of_two_distributions_is_neither(
    install: Callable[..., None], amqpd: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = "[amqpd.plugins]\n{0} = {0}:register\n[amqpd.commands]\nhello = {0}:hello\n"
    for name in ("plugin_two", "plugin_one"):
        install(name, points.format(name), CODE.replace("x-found", f"x-{name}"))
    ran = amqpd("hello")
    assert ran.status == 1
    assert ran.err == "amqpd: command 'hello' is brought by plugin_one and plugin_two: only one of them can be used\n"
    monkeypatch.setenv("AMQPD_PLUGINS__DISABLED", "plugin_one")
    assert amqpd("hello").out == "hello\n"


def test_a_command_of_ours_is_not_replaced(install: Callable[..., None], amqpd: Run) -> None:
    install("found_commands", "[amqpd.commands]\nsample-config = found_commands:hello\n", CODE)
    assert amqpd("sample-config").out.startswith("# Configuration of amqpd.")
    assert amqpd("--help").out.count("  sample-config ") == 1


def test_what_is_installed_is_not_looked_at_for_commands_of_ours(amqpd: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: str) -> None:
        raise AssertionError

    monkeypatch.setattr(importlib.metadata, "entry_points", refuse)
    assert amqpd("--version").status == 0
    assert amqpd("sample-config").status == 0
    assert amqpd("users", "--help").status == 0


def test_two_plugins_of_one_name_are_not_the_configurations_fault(
    install: Callable[..., None], amqpd: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("plugin_one", "plugin_two"):
        install(name, f"[amqpd.plugins]\ntwice = {name}:register\n", CODE)
    monkeypatch.setenv("AMQPD_PLUGINS__ORDER", "twice")
    for words in (("check-config",), ("plugins", "list"), ("run",)):
        ran = amqpd(*words)
        assert (ran.status, ran.err) == (1, "amqpd: two plugins are named 'twice': plugin_one and plugin_two\n")


# Commands of the control socket, on the files alone


@pytest.fixture
def asking(install: Callable[..., None], amqpd: Run) -> Run:
    install("asking", asking_plugin.ENTRY_POINTS, Path(asking_plugin.__file__).read_text(encoding="utf-8"))
    assert amqpd("users", "list").status == 1  # no data directory yet
    assert amqpd("ask", "count").err.endswith(": there is no data directory\n")
    assert amqpd("vhosts", "add", "first").status == 0
    return amqpd


@pytest.mark.parametrize(("again", "ended"), [(0, 0), (1, 1), (3, 3)])
def test_an_inquiry_is_read_and_answered_offline(asking: Run, again: int, ended: int) -> None:
    ran = asking("ask", "count", str(again))
    assert (json.loads(ran.out), ran.err) == ({"notes": 0, "ended": ended}, "")


def test_an_inquiry_that_cannot_be_read_is_one_line(asking: Run) -> None:
    ran = asking("ask", "count", "--", "-1")
    assert (ran.status, ran.err) == (1, "amqpd: the store cannot be read: gone\n")


def test_a_fault_of_a_plugin_is_one_line(asking: Run) -> None:
    for words, name, said in (
        (("fails",), "fails", "KeyError: 'nothing'"),
        (("count", "--", "-2"), "count", "RuntimeError: a fault"),
    ):
        ran = asking("ask", *words)
        assert (ran.status, ran.err) == (1, f"amqpd: command '{name}' of plugin 'asking' failed: {said}\n")


def test_what_a_command_changes_offline_is_kept(asking: Run) -> None:
    assert asking("ask", "vhost").out == '"made"\n'
    assert "made" in asking("vhosts", "list").out


def test_a_refusal_is_one_line(asking: Run) -> None:
    ran = asking("ask", "refused")
    assert (ran.status, ran.err) == (1, "amqpd: not today\n")


def test_a_command_of_a_plugin_that_is_off_is_unknown(asking: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMQPD_PLUGINS__DISABLED", "asking")
    assert asking("ask", "count").err == "amqpd: No such command 'ask' (see 'amqpd --help')\n"


def test_a_name_that_is_not_installed_is_told(amqpd: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMQPD_PLUGINS__DISABLED", "nope")
    ran = amqpd("check-config")
    assert (ran.status, ran.err) == (0, "warning: plugins.disabled names 'nope', which is not installed\n")
    monkeypatch.setenv("AMQPD_PLUGINS__ORDER", "nope")
    ran = amqpd("check-config")
    assert ran.status == 2
    assert "amqpd.toml: plugins.order names 'nope', which is not installed; installed are: " in ran.err

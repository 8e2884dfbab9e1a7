"""docs/plugins.md, done as it says."""

from __future__ import annotations

import inspect
import os
import re
import sys
from pathlib import Path

import pytest

from amqpd.broker.broker import Broker
from amqpd.broker.exchange import Exchange
from amqpd.broker.inquiry import Inquiry
from amqpd.broker.journal import Journal
from amqpd.broker.letters import Poster
from amqpd.broker.registry import Registry
from amqpd.broker.shard import PageSource
from amqpd.broker.timers import Timer, Timers
from amqpd.broker.vhost import VHost
from tests.support.distributions import lay_out
from tests.support.programs import FENCE, NAMED_FENCE, broker, run_program
from tests.support.repository import ROOT, run, tool

PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
FILES = dict(NAMED_FENCE.findall(PAGE))
PACKAGE = ("pyproject.toml", "src/least_full.py", "src/least_full_cli.py", "use.py", "test_least_full.py")


def written_behind(block: str) -> str:
    """What stands in the page behind a block: the one that shows what it prints."""
    blocks: list[str] = [text for _, text in FENCE.findall(PAGE)]
    return blocks[blocks.index(block) + 1]


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the tutorial, installed into ``site`` in it."""
    directory = tmp_path_factory.mktemp("least-full")
    (directory / "src").mkdir()
    for name in PACKAGE:
        (directory / name).write_text(FILES[name] + FILES.get(f"+{name}", ""), encoding="utf-8")
    pip = (sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation")
    done = run(*pip, "--target", str(directory / "site"), ".", cwd=directory)
    assert done.returncode == 0, done.stdout
    return directory


def environment(plugin: Path) -> dict[str, str]:
    return {"PYTHONPATH": str(plugin / "site")}


@pytest.mark.interop
def test_it_is_listed_and_can_be_turned_off(plugin: Path) -> None:
    where = {**os.environ, **environment(plugin)}
    listed = run(tool("amqpd"), "plugins", "list", cwd=plugin, environment=where)
    (row,) = [line.split() for line in listed.stdout.splitlines() if line.startswith("least_full ")]
    assert row[1:4] == ["1.0", "amqpd-least-full", "on"]
    assert "exchange type x-least-full, command least-full list" in " ".join(row)
    (plugin / "amqpd.toml").write_text(FILES["amqpd.toml"], encoding="utf-8")
    listed = run(tool("amqpd"), "plugins", "list", "-c", "amqpd.toml", cwd=plugin, environment=where)
    (row,) = [line.split() for line in listed.stdout.splitlines() if line.startswith("least_full ")]
    assert row[3] == "off"


@pytest.mark.interop
def test_its_program_and_its_command_print_what_the_page_says(plugin: Path, tmp_path: Path) -> None:
    where = {**environment(plugin), "AMQPD_STORE__DATA_DIR": str(tmp_path / "data")}
    with broker(tmp_path / "data", where) as port:
        assert run_program(FILES["use.py"], port, tmp_path).strip() == written_behind(FILES["use.py"]).strip()
        listed = run(tool("amqpd"), "least-full", "list", cwd=plugin, environment=where)
    shown = [line.rstrip() for line in listed.stdout.splitlines()]
    assert shown == written_behind("amqpd least-full list\n").splitlines()


@pytest.mark.interop
def test_its_test_passes(plugin: Path) -> None:
    where = {**os.environ, **environment(plugin)}
    done = run(
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "test_least_full.py",
        cwd=plugin,
        environment=where,
    )
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


@pytest.mark.interop
def test_a_plugin_that_fails_stops_the_start_with_one_line(tmp_path: Path) -> None:
    lay_out(tmp_path / "site", "broken", "[amqpd.plugins]\nbroken = broken:register\n", "import nowhere_to_be_found\n")
    where = {"PYTHONPATH": str(tmp_path / "site")}
    done = run(tool("amqpd"), "run", "--data-dir", str(tmp_path / "data"), cwd=tmp_path, environment=where)
    assert done.returncode == 1
    (line,) = done.stdout.splitlines()
    assert "plugin 'broken' (broken 1.0) failed: ModuleNotFoundError: No module named 'nowhere_to_be_found'" in line


# The tables of the page


METHOD = re.compile(r"(?m)^\| `(?:(\w+)\.)?(\w+)\(([\w, ]*)\)` \|")
OFFERED: dict[str, type] = {
    one.__name__: one for one in (Broker, VHost, Journal, PageSource, Timers, Poster, Timer, Inquiry)
}


def table(after: str) -> list[tuple[str, str, str]]:
    """Class (or nothing), method and parameters, from the table that follows a sentence."""
    return METHOD.findall(PAGE.split(after, 1)[1].split("\n\n", 2)[1])


def parameters(owner: type, method: str) -> str | None:
    """Their names, where they can be seen: a compiled method does not tell."""
    try:
        return ", ".join(list(inspect.signature(getattr(owner, method)).parameters)[1:])
    except ValueError:
        return None


def own_methods(owner: type) -> set[str]:
    return {name for name in vars(owner) if not name.startswith("_") and callable(getattr(owner, name))}


def test_every_method_of_the_registry_is_in_the_page() -> None:
    rows = table("of the same name is refused.")
    assert {method for _, method, _ in rows} == own_methods(Registry) - {"by", "owned"}  # by who loads plugins
    assert [row for row in rows if row[2] != parameters(Registry, row[1])] == []


def test_every_method_of_an_exchange_is_in_the_page() -> None:
    rows = table("one of the two that route.")
    assert {method for _, method, _ in rows} == own_methods(Exchange) - {"add", "remove"}  # of the vhost
    assert [row for row in rows if parameters(Exchange, row[1]) not in (None, row[2])] == []


@pytest.mark.parametrize("after", ["What a plugin may ask of the broker:", "What a plugin may hand to the broker:"])
def test_what_the_page_offers_is_there(after: str) -> None:
    rows = table(after)
    assert len(rows) >= 5
    for owner, method, named in rows:
        assert method in own_methods(OFFERED[owner])
        assert parameters(OFFERED[owner], method) in (None, named)

"""Commands of a plugin: the command line asks a running broker, and its files when none runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import asking_plugin
from tests.support.distributions import lay_out
from tests.support.programs import broker
from tests.support.repository import run, tool

Ask = Callable[..., tuple[int, str]]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    code = Path(asking_plugin.__file__).read_text(encoding="utf-8")
    lay_out(tmp_path / "site", "asking", asking_plugin.ENTRY_POINTS, code)
    return {"PYTHONPATH": str(tmp_path / "site"), "AMQPD_STORE__DATA_DIR": str(tmp_path / "data")}


@pytest.fixture
def ask(environment: dict[str, str], tmp_path: Path) -> Ask:
    def asked(*words: str) -> tuple[int, str]:
        done = run(tool("amqpd"), "ask", *words, cwd=tmp_path, environment=environment)
        return done.returncode, done.stdout.strip()

    return asked


@pytest.fixture
def running(environment: dict[str, str], tmp_path: Path) -> Iterator[None]:
    with broker(tmp_path / "data", environment):
        yield


@pytest.mark.interop
@pytest.mark.usefixtures("running")
def test_a_running_broker_answers(ask: Ask) -> None:
    for again in (0, 2):  # an inquiry, and one that is answered with another, and that with a third
        status, out = ask("count", str(again))
        assert (status, json.loads(out)) == (0, {"notes": 0, "ended": again})
    assert ask("count", "--", "-1") == (1, "amqpd: the store cannot be read: gone")
    assert ask("refused") == (1, "amqpd: not today")
    assert ask("nothing") == (1, "amqpd: unknown command 'nothing'")


@pytest.mark.interop
@pytest.mark.usefixtures("running")
def test_a_fault_of_a_plugin_costs_the_broker_nothing(ask: Ask) -> None:
    assert ask("fails") == (1, "amqpd: command 'fails' of plugin 'asking' failed: KeyError: 'nothing'")
    assert ask("count", "--", "-2") == (1, "amqpd: command 'count' of plugin 'asking' failed: RuntimeError: a fault")
    status, said = ask("no json")
    assert (status, said.partition(": Object")[0]) == (1, "amqpd: JSON cannot carry the answer")
    assert ask("count") == (0, '{"notes": 0, "ended": 0}')


@pytest.mark.interop
def test_what_was_changed_is_there_after_a_restart(environment: dict[str, str], ask: Ask, tmp_path: Path) -> None:
    with broker(tmp_path / "data", environment):
        assert ask("vhost") == (0, '"made"')
    listed = run(tool("amqpd"), "vhosts", "list", "--json", cwd=tmp_path, environment=environment)
    assert "made" in [row["name"] for row in json.loads(listed.stdout)]
    assert ask("count") == (0, '{"notes": 0, "ended": 0}')

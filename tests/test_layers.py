"""The layers hold (import-linter, contracts in pyproject.toml), and the contracts notice when they do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.repository import ROOT, copy_sources, pyproject, run, tool

OUTSIDE_ALLOWED = {"server", "store"}  # the layers that may touch clocks, sockets and databases


def lint(directory: Path) -> tuple[int, str]:
    """Exit status and output of import-linter over the amqpd package in ``directory``."""
    # The working directory comes first on the path of lint-imports: it reads this copy and no installed one.
    done = run(tool("lint-imports"), "--no-cache", "--no-logo", cwd=directory)
    return done.returncode, done.stdout


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    copy_sources(tmp_path)
    return tmp_path


def test_layers_hold() -> None:
    status, output = lint(ROOT)
    assert status == 0, output


@pytest.mark.parametrize(
    ("module", "statement", "broken"),
    [
        ("spec", "import amqpd.wire", "layers"),
        ("wire", "import amqpd.broker", "layers"),
        ("broker", "from amqpd import queues", "layers"),
        ("queues", "import amqpd.exchanges", "layers"),
        ("store", "import amqpd.auth", "layers"),
        ("auth", "import amqpd.features", "layers"),
        ("features", "import amqpd.session", "layers"),
        ("session", "import amqpd.server", "layers"),
        ("session", "def wait() -> None:\n    import time\n    time.sleep(1)", "core-is-pure"),
        ("features", "from random import randint", "core-is-pure"),
        ("broker", "import sqlite3", "core-is-pure"),
        ("wire", "from socket import socket", "core-is-pure"),
        ("auth", "import trio", "core-is-pure"),
    ],
)
def test_violation_is_caught(copy: Path, module: str, statement: str, broken: str) -> None:
    (copy / "amqpd" / module / "made_up_violation.py").write_text(statement + "\n")
    status, output = lint(copy)
    assert status == 1, output
    contracts = {contract["id"]: contract["name"] for contract in pyproject()["tool"]["importlinter"]["contracts"]}
    for identity, name in contracts.items():
        assert f"{name} {'BROKEN' if identity == broken else 'KEPT'}" in output
    assert "made_up_violation" in output


def test_package_outside_the_layers_is_caught(copy: Path) -> None:
    (copy / "amqpd" / "utils.py").write_text('"""No place for it."""\n')
    status, output = lint(copy)
    assert status == 1, output
    assert "amqpd.utils" in output or "utils" in output.split("Broken contracts", 1)[1]


def test_every_layer_but_server_and_store_must_be_pure() -> None:
    contracts = {contract["id"]: contract for contract in pyproject()["tool"]["importlinter"]["contracts"]}
    packages = {path.parent.name for path in (ROOT / "amqpd").glob("*/__init__.py")}
    assert set(contracts["core-is-pure"]["source_modules"]) == {f"amqpd.{name}" for name in packages - OUTSIDE_ALLOWED}

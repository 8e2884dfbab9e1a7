"""docs/plugins.md, done as it says."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.support.programs import FENCE, NAMED_FENCE, broker, run_program
from tests.support.repository import ROOT, run, tool

PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
FILES = dict(NAMED_FENCE.findall(PAGE))


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the tutorial, installed into ``site`` beside it."""
    directory = tmp_path_factory.mktemp("least-full")
    for name in ("pyproject.toml", "least_full.py", "use.py", "test_least_full.py"):
        (directory / name).write_text(FILES[name], encoding="utf-8")
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
    assert "exchange type x-least-full" in " ".join(row)
    (plugin / "amqpd.toml").write_text(FILES["amqpd.toml"], encoding="utf-8")
    listed = run(tool("amqpd"), "plugins", "list", "-c", "amqpd.toml", cwd=plugin, environment=where)
    (row,) = [line.split() for line in listed.stdout.splitlines() if line.startswith("least_full ")]
    assert row[3] == "off"


@pytest.mark.interop
def test_its_program_prints_what_the_page_says(plugin: Path, tmp_path: Path) -> None:
    blocks = FENCE.findall(PAGE)
    at = next(at for at, (_, block) in enumerate(blocks) if block == FILES["use.py"])
    with broker(tmp_path / "data", environment(plugin)) as port:
        assert run_program(FILES["use.py"], port, tmp_path).strip() == blocks[at + 1][1].strip()


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
def test_a_plugin_that_fails_stops_the_start_with_one_line(plugin: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "broken.py").write_text("import nowhere_to_be_found\n")
    about = site / "broken-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[amqpd.plugins]\nbroken = broken:register\n")
    where = {**os.environ, "PYTHONPATH": str(site)}
    done = run(tool("amqpd"), "run", "--data-dir", str(tmp_path / "data"), cwd=tmp_path, environment=where)
    assert done.returncode == 1
    (line,) = done.stdout.splitlines()
    assert "plugin 'broken' (broken 1.0) failed: ModuleNotFoundError: No module named 'nowhere_to_be_found'" in line

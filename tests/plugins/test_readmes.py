"""The program in each plugin's README, against a broker with the plugins installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.programs import FENCE, broker, run_program
from tests.support.repository import ROOT

PLUGINS = sorted(path.parent.name for path in (ROOT / "plugins").glob("*/pyproject.toml"))


@pytest.mark.interop
@pytest.mark.parametrize("plugin", PLUGINS)
def test_its_program_runs(plugin: str, tmp_path: Path) -> None:
    text = (ROOT / "plugins" / plugin / "README.md").read_text(encoding="utf-8")
    (program,) = [block for kind, block in FENCE.findall(text) if kind == "python"]
    with broker(tmp_path / "data") as port:
        run_program(program, port, tmp_path)


@pytest.mark.parametrize("plugin", PLUGINS)
def test_it_is_listed_and_says_what_differs(plugin: str) -> None:
    assert f"[{plugin}]({plugin}/README.md)" in (ROOT / "plugins" / "README.md").read_text(encoding="utf-8")
    text = (ROOT / "plugins" / plugin / "README.md").read_text(encoding="utf-8")
    assert "\n## Differences from RabbitMQ" in text

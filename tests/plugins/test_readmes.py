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
    blocks = FENCE.findall(text)
    (at,) = [at for at, (kind, _) in enumerate(blocks) if kind == "python"]
    with broker(tmp_path / "data") as port:
        printed = run_program(blocks[at][1], port, tmp_path)
    if at + 1 < len(blocks) and not blocks[at + 1][0]:  # what it prints may stand behind it
        assert printed.strip() == blocks[at + 1][1].strip()


@pytest.mark.parametrize("plugin", PLUGINS)
def test_it_is_listed_and_says_what_differs(plugin: str) -> None:
    assert f"[{plugin}]({plugin}/README.md)" in (ROOT / "plugins" / "README.md").read_text(encoding="utf-8")
    text = (ROOT / "plugins" / plugin / "README.md").read_text(encoding="utf-8")
    assert "\n## Differences from RabbitMQ" in text

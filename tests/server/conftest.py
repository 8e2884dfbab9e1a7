"""The command line, run in this process."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from amqpd.server import cli


@dataclass
class Ran:
    """What a command left: its exit status and its two outputs."""

    status: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def amqpd(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command in this process, with ``tmp_path/data`` as the data directory."""
    monkeypatch.setenv("AMQPD_STORE__DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("AMQPD_CONFIG_FILE", str(tmp_path / "amqpd.toml"))
    (tmp_path / "amqpd.toml").write_text("")

    def run(*arguments: str, stdin: str = "") -> Ran:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as left:
            cli.main(list(arguments))
        out, err = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return Ran(left.value.code, out, err)

    return run

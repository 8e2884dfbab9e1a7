"""The systemd unit, checked by systemd's own tool where it is installed."""

from __future__ import annotations

import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

from amqpd.server.configuration import Source
from tests.support.repository import ROOT

UNIT = ROOT / "etc" / "amqpd.service"


def service() -> dict[str, str]:
    parser = ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT)
    return dict(parser["Service"])


def test_service_waits_for_the_broker_to_say_that_it_is_ready() -> None:
    found = service()
    assert (found["Type"], found["NotifyAccess"]) == ("notify", "main")
    assert found["ExecReload"] == "/bin/kill -HUP $MAINPID"


def test_service_writes_to_its_state_directory_only() -> None:
    found = service()
    name, _, value = found["Environment"].partition("=")
    assert (
        Source(environ={name: value}, default_file=Path("/nonexistent")).load().settings.store.data_dir
        == "/var/lib/amqpd"
    )
    assert (found["StateDirectory"], found["ProtectSystem"]) == ("amqpd", "strict")


def test_systemd_understands_every_line_and_finds_it_hardened(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / "amqpd.service"
    unit.write_text(UNIT.read_text().replace("/usr/local/bin/amqpd", "/bin/true"))
    verified = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")
    secured = subprocess.run(
        [analyze, "security", "--offline=yes", "--threshold=20", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert secured.returncode == 0, secured.stdout[-300:]

"""Which broker the command line and the environment choose, and where its data lie."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.harness.brokers import Amqpd, Broker, BrokerError, RunningBroker, ScratchRabbitMQ
from bench.harness.client import Address
from bench.harness.generator import ROOT

DEFAULT_PEER = ROOT.parent / "shared" / "peers" / "rabbitmq"
DEFAULT_DATA = ROOT / "var" / "bench"


@dataclass(frozen=True)
class Choice:
    """What the command line says about one broker; ``kind`` is amqpd, rabbitmq or an amqp:// URL."""

    kind: str
    python: str | None = None
    checkout: str | None = None
    arguments: str = ""
    pid: int | None = None

    @property
    def name(self) -> str:
        """What tables call it."""
        return "running" if "://" in self.kind else self.kind


def add_broker_options(parser: argparse.ArgumentParser, side: str, default: str) -> None:
    """Add the options of one broker; ``side`` is "a", "b" or "" (then they carry no letter)."""
    flag, prefix = (f"--broker-{side}", f"--{side}-") if side else ("--broker", "--")
    parser.add_argument(
        flag, default=default, metavar="KIND", help=f"amqpd, rabbitmq or amqp://... (default {default})"
    )
    parser.add_argument(f"{prefix}python", metavar="PATH", help="amqpd: interpreter that has it (default .venv's)")
    parser.add_argument(f"{prefix}checkout", metavar="DIR", help="amqpd: run this source tree, not what is installed")
    parser.add_argument(f"{prefix}args", default="", metavar="ARGS", help="amqpd: more arguments for `amqpd run`")
    parser.add_argument(f"{prefix}pid", type=int, metavar="PID", help="running broker: its pid, for CPU and memory")


def read_choice(options: argparse.Namespace, side: str) -> Choice:
    """Return what `add_broker_options` of the same ``side`` has read."""
    values = vars(options)
    prefix = f"{side}_" if side else ""
    return Choice(
        kind=values[f"broker_{side}" if side else "broker"],
        python=values[f"{prefix}python"],
        checkout=values[f"{prefix}checkout"],
        arguments=values[f"{prefix}args"],
        pid=values[f"{prefix}pid"],
    )


def make_broker(choice: Choice, name: str, directory: Path) -> Broker:
    """Make the broker that ``choice`` names, its files in ``directory``; BrokerError for an unknown kind."""
    if choice.kind == "amqpd":
        python = os.path.abspath(choice.python) if choice.python else default_python()
        return Amqpd(name, directory, python, choice.checkout, shlex.split(choice.arguments))
    if choice.kind == "rabbitmq":
        url = os.environ.get("RABBITMQ_URL")
        if not url:
            return ScratchRabbitMQ(name, directory, os.environ.get("RABBITMQ_PEER") or str(DEFAULT_PEER))
        pid = choice.pid or int(os.environ.get("RABBITMQ_PID") or 0) or None
        return RunningBroker(name, Address.from_url(url), pid)
    try:
        return RunningBroker(name, Address.from_url(choice.kind), choice.pid)
    except ValueError as error:
        raise BrokerError(f"unknown broker {choice.kind}: {error}") from error


def default_python() -> str:
    """Return the interpreter of the repository's .venv, or the running one when there is none."""
    installed = ROOT / ".venv" / "bin" / "python"
    return str(installed) if installed.exists() else sys.executable


def require_disk(directory: Path) -> str:
    """Create ``directory`` and return its file system's type; raises BrokerError for one in memory."""
    directory.mkdir(parents=True, exist_ok=True)
    device = directory.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    kind = "unknown"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, source = line.partition(" - ")
        if mount.split()[2] == number:
            kind = source.split()[0]
    if kind in ("tmpfs", "ramfs"):
        raise BrokerError(f"{directory} is on {kind}: commits cost nothing there; give --data a directory on a disk")
    return kind

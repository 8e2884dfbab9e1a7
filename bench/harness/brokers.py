"""The brokers that are measured: amqpd, a scratch RabbitMQ, or one that already runs.

All are given a data directory on a real disk: a commit on tmpfs costs nothing, so figures from there lie.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from bench.harness.client import DURABLE, Address, ClientError, Connection

START_LIMIT_S = 60.0
STOP_LIMIT_S = 60.0
POLL_S = 0.005


class BrokerError(Exception):
    """A broker can not be started, reached or stopped."""


class Broker(ABC):
    """A broker under measurement. ``pid`` is None when unknown: then there are no CPU and memory figures."""

    def __init__(self, name: str, address: Address, pid: int | None = None) -> None:
        self.name = name
        self.address = address
        self.pid = pid

    @abstractmethod
    def start(self) -> float:
        """Start it and wait for its port; returns the seconds until the port was open."""

    @abstractmethod
    def stop(self) -> float:
        """Stop it politely and wait for its end; returns the seconds that took."""

    @abstractmethod
    def version(self) -> str:
        """Return what it says it is; it must be running."""

    @abstractmethod
    def clean(self) -> None:
        """Remove what it wrote; of a broker that this script did not start, nothing."""

    def data_bytes(self) -> int | None:
        """Return the size of its data directory, None when unknown."""
        return None

    def check(self) -> None:
        """Raise BrokerError when it has died."""
        if self.pid and not Path(f"/proc/{self.pid}").exists():
            raise BrokerError(f"{self.name} (pid {self.pid}) has died")


class OwnedBroker(Broker):
    """A broker that this script starts, with a directory of its own."""

    def __init__(self, name: str, directory: Path, port: int) -> None:
        super().__init__(name, Address(port=port))
        self.directory = directory

    def clean(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)

    def data_bytes(self) -> int | None:
        return sum(file.stat().st_size for file in self.directory.rglob("*") if file.is_file())


class Amqpd(OwnedBroker):
    """``PYTHON -m amqpd run``.

    Without ``checkout`` the amqpd installed for ``python`` runs: the working directory is the broker's own,
    so that sources beside the script can not shadow an installed compiled form. With it, that tree runs.
    """

    def __init__(self, name: str, directory: Path, python: str, checkout: str | None, arguments: list[str]) -> None:
        super().__init__(name, directory, free_port())
        self.python = python
        self.arguments = arguments
        self.environment = dict(os.environ)
        self.working_directory = directory
        if checkout:
            self.working_directory = Path(checkout).resolve()
            self.environment["PYTHONPATH"] = str(self.working_directory)
        self.log = directory / "amqpd.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        self.directory.mkdir(parents=True, exist_ok=True)
        listen = f"{self.address.host}:{self.address.port}"
        command = [self.python, "-m", "amqpd", "run"]
        command += ["--data-dir", str(self.directory / "data"), "--listen", listen, *self.arguments]
        began = time.monotonic()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.working_directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.pid = self.process.pid
        try:
            wait_port(self.address, began, self._raise_if_dead)
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        return time.monotonic() - began

    def _raise_if_dead(self) -> None:
        if self.process and self.process.poll() is not None:
            tail = self.log.read_text(errors="replace").strip().splitlines()[-5:]
            raise BrokerError(f"{self.name} ended with status {self.process.returncode}:\n" + "\n".join(tail))

    def stop(self) -> float:
        if self.process is None or self.process.poll() is not None:
            return 0.0
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise BrokerError(f"{self.name} did not end {STOP_LIMIT_S:.0f} s after SIGTERM") from None
        finally:
            self.pid = None
        if status:
            raise BrokerError(f"{self.name} ended with status {status} after SIGTERM, see {self.log}")
        return time.monotonic() - began

    def check(self) -> None:
        self._raise_if_dead()

    def version(self) -> str:
        done = subprocess.run(
            [self.python, "-m", "amqpd", "--version"],
            cwd=self.working_directory,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip() or "amqpd of unknown version"


class ScratchRabbitMQ(OwnedBroker):
    """A RabbitMQ started by the peer script (RABBITMQ_PEER), with its own node name, ports and directory."""

    def __init__(self, name: str, directory: Path, peer: str) -> None:
        super().__init__(name, directory, free_port())
        self.peer = peer
        self.management_port = free_port()
        # The script notes under this directory which node ctl and stop mean; ours must not replace another's.
        self.environment = {**os.environ, "XDG_RUNTIME_DIR": str(directory)}

    def start(self) -> float:
        self.directory.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        node = str(self.directory / "node")
        answer = self._peer("start", str(self.address.port), str(self.management_port), node)
        if not answer.isdigit():
            raise BrokerError(f"{self.peer} start printed no pid but: {answer}")
        self.pid = int(answer)
        wait_port(self.address, began, lambda: None)
        return time.monotonic() - began

    def stop(self) -> float:
        if self.pid is None:
            return 0.0
        began, pid, self.pid = time.monotonic(), self.pid, None
        self._peer("stop")
        while Path(f"/proc/{pid}").exists():
            if time.monotonic() - began > STOP_LIMIT_S:
                raise BrokerError(f"{self.name} (pid {pid}) did not end")
            time.sleep(POLL_S)
        return time.monotonic() - began

    def _peer(self, *arguments: str) -> str:
        try:
            done = subprocess.run([self.peer, *arguments], env=self.environment, capture_output=True, text=True)
        except OSError as error:
            raise BrokerError(f"can not run {self.peer}: {error}; set RABBITMQ_PEER or RABBITMQ_URL") from error
        if done.returncode:
            raise BrokerError(f"{self.peer} {arguments[0]}: {done.stderr.strip()}")
        return done.stdout.strip()

    def version(self) -> str:
        return announced_version(self.name, self.address)


class RunningBroker(Broker):
    """A broker that runs already and is left running. It can not be restarted."""

    def start(self) -> float:
        wait_port(self.address, time.monotonic(), lambda: None)
        return 0.0

    def stop(self) -> float:
        return 0.0

    def clean(self) -> None:
        return

    def version(self) -> str:
        return announced_version(self.name, self.address)


def announced_version(name: str, address: Address) -> str:
    """Return name and version as its server properties announce them."""
    with Connection(address) as connection:
        return f"{name} {connection.version}"


def wait_port(address: Address, began: float, check: Callable[[], None]) -> None:
    """Wait until the port accepts; ``check`` may raise first. Raises BrokerError 60 s after ``began``."""
    while True:
        try:
            socket.create_connection((address.host, address.port), timeout=1.0).close()
            return
        except OSError as error:
            check()
            if time.monotonic() - began > START_LIMIT_S:
                raise BrokerError(f"nothing listens on {address.host}:{address.port}: {error}") from error
            time.sleep(POLL_S)


def wait_declare(address: Address, queue: str) -> float:
    """Declare a durable ``queue`` as soon as the broker lets us; returns the seconds until its answer."""
    began = time.monotonic()
    while True:
        try:
            with Connection(address) as connection:
                connection.declare(queue, DURABLE)
                return time.monotonic() - began
        except (ClientError, OSError) as error:
            if time.monotonic() - began > START_LIMIT_S:
                raise BrokerError(f"no declare answered on port {address.port}: {error}") from error
            time.sleep(POLL_S)


def free_port() -> int:
    """Return a free port below 32768 (RabbitMQ's distribution port lies 20,000 above its own)."""
    for port in range(21000 + os.getpid() % 5000, 32000):
        with socket.socket() as probe:
            # A port handed out a moment ago is not bound yet, so each is given only once.
            if port in _given_ports:
                continue
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            _given_ports.add(port)
            return port
    raise BrokerError("no free port")


_given_ports: set[int] = set()

"""Stands in for the Docker client of aio-pika's and aiormq's tests: their containers are brokers on this machine.

The container with a TLS port is the one that all tests share: the broker under test, at AMQP_PORT and AMQPS_PORT. One
without it belongs to a test that stops it: another broker, started by BROKER_COMMAND.
"""

import os
import shlex
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

HOST = "127.0.0.1"
STOP_SECONDS = 20.0
SHARED = "shared"


class DockerNotAvailableError(Exception):
    """Never raised: nothing of Docker is needed."""


@dataclass
class DockerHostInfo:
    container_host: str = HOST


@dataclass
class ContainerInfo:
    id: str
    ports: dict[str, int]
    host: str = HOST


def check_docker_available() -> DockerHostInfo:
    return DockerHostInfo()


class Restartable:
    """A broker of a test's own, which stays on its port and its data when it is stopped and started."""

    def __init__(self, command: Sequence[str]) -> None:
        self._directory = tempfile.TemporaryDirectory()
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            self.port: int = probe.getsockname()[1]
        self._command = [*command, "--data-dir", f"{self._directory.name}/data", "--listen", f"{HOST}:{self.port}"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns at once: the tests wait until it answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def end(self, how: signal.Signals) -> int:
        """The exit status, 0 when it was not running."""
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(how)
        return process.wait(STOP_SECONDS)

    def remove(self) -> None:
        self.end(signal.SIGKILL)
        self._directory.cleanup()


# The tests make several clients, which all know the same containers.
_containers: dict[str, Restartable] = {}
_exit_codes: dict[str, int] = {}


class DockerClient:
    def __init__(self, docker_host_info: DockerHostInfo | None = None) -> None:
        self.docker_host_info = docker_host_info or DockerHostInfo()

    def run(self, image: str, ports: Sequence[str], environment: Mapping[str, str] | None = None) -> ContainerInfo:
        if "5671/tcp" in ports:
            shared = {"5672/tcp": int(os.environ["AMQP_PORT"]), "5671/tcp": int(os.environ["AMQPS_PORT"])}
            return ContainerInfo(SHARED, shared)
        command = shlex.split(os.environ["BROKER_COMMAND"])
        if not command:
            pytest.skip("the broker under test cannot be started a second time")
        broker = Restartable(command)
        name = str(broker.port)
        _containers[name] = broker
        broker.start()
        return ContainerInfo(name, {"5672/tcp": broker.port})

    def start(self, container_id: str) -> None:
        _containers[container_id].start()

    def kill(self, container_id: str) -> None:
        if container_id != SHARED:
            _containers[container_id].end(signal.SIGKILL)

    def remove(self, container_id: str) -> None:
        if container_id != SHARED:
            _containers.pop(container_id).remove()

    def inspect(self, container_id: str) -> dict[str, Any]:
        return {"Id": container_id}

    def _parse_ports(self, info: Mapping[str, Any]) -> dict[str, int]:
        return {"5672/tcp": _containers[info["Id"]].port}

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Docker's HTTP API, as far as the tests need it to run ``rabbitmqctl stop_app`` and ``start_app``."""
        match method, path.split("/")[1:], body:
            case "POST", ["containers", name, "exec"], {"Cmd": ["rabbitmqctl", action]}:
                return {"Id": f"{name} {action}"}
            case "POST", ["exec", job, "start"], _:
                name, action = job.split()
                _exit_codes[job] = _rabbitmqctl(_containers[name], action)
                return {}
            case "GET", ["exec", job, "json"], _:
                return {"Running": False, "ExitCode": _exit_codes[job]}
        raise ValueError(f"{method} {path} {body}")


def _rabbitmqctl(broker: Restartable, action: str) -> int:
    if action == "stop_app":
        return broker.end(signal.SIGTERM)
    broker.start()
    return 0

"""Programs that stand in documents, and a broker process for them."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.repository import run, tool

FENCE = re.compile(r"(?ms)^```(\w*)[^\n]*\n(.*?)^```$")
NAMED_FENCE = re.compile(r"(?ms)^```\w+ (\S+)\n(.*?)^```$")

# A program connects to the default port; only that default is changed.
START = """
import runpy, sys, pika.connection
pika.connection.Parameters.DEFAULT_PORT = int(sys.argv[1])
runpy.run_path('program.py', run_name='__main__')
"""
NOTHING: Mapping[str, str] = {}


@contextmanager
def broker(directory: Path, environment: Mapping[str, str] = NOTHING) -> Iterator[int]:
    """A broker process on a free port; yields the port once it has said READY=1, as it does to systemd."""
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        # A Unix socket's path has little room, less than tmp_path may need.
        notify.bind(f"{short}/notify")
        notify.settimeout(60)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port: int = free.getsockname()[1]
        process = subprocess.Popen(
            [tool("amqpd"), "run", "--data-dir", str(directory), "--listen", f"127.0.0.1:{port}"],
            env={**os.environ, **environment, "NOTIFY_SOCKET": f"{short}/notify"},
        )
        try:
            while "READY=1" not in notify.recv(4096).decode().splitlines():
                pass
            yield port
        finally:
            process.send_signal(signal.SIGTERM)
            status = process.wait(timeout=60)
    assert status == 0


def run_program(program: str, port: int, directory: Path) -> str:
    """Run a program that uses pika, in ``directory``; returns what it printed. Fails when it fails."""
    (directory / "program.py").write_text(program, encoding="utf-8")
    done = run(sys.executable, "-c", START, str(port), cwd=directory)
    assert done.returncode == 0, done.stdout
    return done.stdout

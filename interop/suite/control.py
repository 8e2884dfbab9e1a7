"""How a program in any language acts on its broker: a command, ``$INTEROP_CONTROL restart``.

The command (``act.py``) passes its words through a Unix socket to the suite, which holds the broker's handles.
"""

import json
import shlex
import socketserver
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from interop.broker import CANNOT, Broker, CannotDo

KNOWN = "restart, crash, alarm on, alarm off, interrupt NAME, policy NAME PATTERN DEFINITION"
DONE, FAILED = 0, 1  # exit status of the command, besides CANNOT
POLL_SECONDS = 0.05


@contextmanager
def controlling(broker: Broker, directory: Path) -> Iterator[Path]:
    """Yield the path of a command that acts on this broker, for the time of the block.

    The socket lies in ``directory``, whose path must leave it room (108 characters on Linux).
    """
    address = directory / "control.socket"
    command = directory / "control"
    script = Path(__file__).with_name("act.py").resolve()
    command.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, "-I", str(script), str(address)])} "$@"\n')
    command.chmod(0o755)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            words = self.rfile.readline().decode().rstrip("\n").split("\0")
            status, text = _act(broker, words)
            self.wfile.write(f"{status} {text}".encode())

    with socketserver.ThreadingUnixStreamServer(str(address), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(POLL_SECONDS,), daemon=True).start()
        try:
            yield command
        finally:
            server.shutdown()


def _act(broker: Broker, words: list[str]) -> tuple[int, str]:
    try:
        match words:
            case ["restart"]:
                broker.restart()
            case ["crash"]:
                broker.crash()
            case ["alarm", "on" | "off" as wanted]:
                broker.alarm(wanted == "on")
            case ["interrupt", name]:
                broker.interrupt(name)
            case ["policy", name, pattern, definition]:
                broker.policy(name, pattern, json.loads(definition))
            case _:
                return FAILED, f"what is {' '.join(words)!r}? {KNOWN}"
    except CannotDo as reason:
        return CANNOT, str(reason)
    except Exception as error:
        return FAILED, f"{type(error).__name__}: {error}"
    return DONE, ""

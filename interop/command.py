"""Run one program by hand: ``python -m interop.programs.hello_world --url URL``."""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from interop.broker import Broker, CannotDo, running_amqpd, running_elsewhere
from interop.transcript import Json, differing_places


def main(run: Callable[[Broker], Json], expected: Json) -> None:
    """Print the transcript; exit 1 when it is not the expected one, 3 when the broker cannot do it."""
    with tempfile.TemporaryDirectory() as directory, _chosen_broker(Path(directory)) as broker:
        try:
            seen = broker.observe(run)
        except CannotDo as reason:
            print(f"not run: {reason}", file=sys.stderr)
            sys.exit(3)
    print(json.dumps(seen, indent=2, ensure_ascii=False))
    differences = list(differing_places(expected, seen))
    for path, wanted, got in differences:
        print(f"{path}: expected {wanted!r}, got {got!r}", file=sys.stderr)
    sys.exit(1 if differences else 0)


def _chosen_broker(directory: Path) -> AbstractContextManager[Broker]:
    parser = argparse.ArgumentParser(description="Run this program against a broker and print what it saw.")
    parser.add_argument("--url", help="AMQP URL of a running broker; without it an amqpd is started")
    url = parser.parse_args().url
    return running_amqpd(directory) if url is None else running_elsewhere(url)

"""The pure parts of the delayed benchmark."""

from __future__ import annotations

import json
import socket
import struct
import threading
from pathlib import Path

import pytest

from bench.harness.brokers import BrokerError
from bench.harness.client import ClientError, Connection
from bench.harness.delayed import Outcome, parse_options, rows, waiting_messages
from bench.harness.delayed_load import DUE_BYTES, delayed, percentile, read_frames


def test_percentiles() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile([7.0], 0.99)) == (51.0, 100.0, 7.0)
    assert percentile([], 0.5) is None


def frames_of(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while data:
        size = int.from_bytes(data[3:7])
        assert data[7 + size] == 0xCE
        found.append((data[0], data[7 : 7 + size]))
        data = data[8 + size :]
    return found


def test_a_body_begins_with_the_time_it_is_due() -> None:
    (_, publish), (_, header), (_, body) = frames_of(delayed(5000, 1_700_000_000_123.25))
    assert publish[:4] == b"\0\x3c\0\x28"
    assert float(body[:DUE_BYTES]) == pytest.approx(1_700_000_005_123.25, abs=0.001)
    assert b"\x07x-delayl" + struct.pack(">q", 5000) in header
    assert int.from_bytes(header[4:12]) == len(body)


class Pieces(Connection):
    """A connection whose octets come in pieces of at most ``size``, and then no more."""

    def __init__(self, data: bytes, size: int) -> None:
        self.socket = Source(data, size)  # type: ignore[assignment]
        self.received = b""


class Source:
    def __init__(self, data: bytes, size: int) -> None:
        self.data, self.size = data, size

    def recv(self, size: int) -> bytes:
        piece, self.data = self.data[: self.size], self.data[self.size :]
        return piece


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_frames_are_found_whatever_the_pieces(size: int) -> None:
    data = delayed(1, 1000.0) * 3
    seen: list[tuple[int, bytes]] = []

    def handle(kind: int, payload: bytes) -> bool:
        seen.append((kind, payload))
        return len(seen) == 9

    read_frames(Pieces(data, size), handle)
    assert seen == frames_of(data)


def test_a_connection_that_ends_is_told() -> None:
    with pytest.raises(ClientError, match="dropped"):
        read_frames(Pieces(delayed(1, 1000.0)[:-1], 1000), lambda kind, payload: False)


def test_steps_that_were_not_reached_are_dashes() -> None:
    outcome = Outcome(1000, faults=["paced: 1 of 2 came"])
    outcome.peak_rss_mib[1000] = 70.0
    shown = {row[0]: row[1] for row in rows(outcome)}
    assert shown["memory peak, MiB, 1,000 pending"] == "70.0"
    assert shown["late: p99, ms"] == "-"
    assert shown["none early, none lost"] == "paced: 1 of 2 came"


def answering(path: Path, answer: object) -> threading.Thread:
    """Answers one command on a control socket at ``path``."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        with listener, listener.accept()[0] as client, client.makefile("rwb") as lines:
            assert json.loads(lines.readline())["command"] == "delayed stats"
            lines.write(json.dumps(answer).encode() + b"\n")

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def test_what_is_pending_on_all_exchanges_is_added_up(tmp_path: Path) -> None:
    thread = answering(tmp_path / "control.sock", {"result": [{"waiting": 3}, {"waiting": 4}]})
    assert waiting_messages(tmp_path / "control.sock") == 7
    thread.join()


def test_a_refused_count_is_told(tmp_path: Path) -> None:
    thread = answering(tmp_path / "control.sock", {"error": "unknown command"})
    with pytest.raises(BrokerError, match="unknown command"):
        waiting_messages(tmp_path / "control.sock")
    thread.join()


def test_options_that_measure_nothing_are_refused() -> None:
    assert parse_options([]).pending == 1_000_000
    with pytest.raises(SystemExit):
        parse_options(["--pending", "10"])

"""The control socket, with real sockets and a clock that jumps over waits."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import outcome
import pytest
import trio
import trio.testing

from amqpd.server import control
from amqpd.server.control import (
    CLIENTS_MAX,
    REQUEST_BYTES_MAX,
    CommandRefused,
    ControlError,
    Handle,
    NotRunning,
    reachable,
    request,
    serve_control,
)


async def echo(command: str, arguments: dict[str, Any]) -> object:
    if command == "refuse":
        raise CommandRefused("not today")
    if command == "hang":
        await trio.sleep_forever()
    return [command, arguments]


def serve(path: Path, client: Callable[[], Any], handle: Handle = echo) -> Any:
    """What ``client`` returns or raises, run in a thread beside a control server."""

    async def both() -> outcome.Outcome[Any]:
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(serve_control, path, handle))
            result = await trio.to_thread.run_sync(outcome.capture, client)
            nursery.cancel_scope.cancel()
        return result

    return trio.run(both).unwrap()


def serve_raw(path: Path, data: bytes, handle: Handle = echo, close: bool = False) -> bytes:
    """The bytes that answer ``data``; time jumps when all wait. ``close`` ends our side after sending."""

    async def both() -> bytes:
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(serve_control, path, handle))
            async with await trio.open_unix_socket(os.fspath(path)) as stream:
                await stream.send_all(data)
                if close:
                    await stream.send_eof()
                answer = b"".join([part async for part in stream])
            nursery.cancel_scope.cancel()
        return answer

    return trio.run(both, clock=trio.testing.MockClock(autojump_threshold=0.05))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / control.SOCKET_NAME


def test_command_is_answered(path: Path) -> None:
    assert serve(path, partial(request, path, "say", {"x": "\u00fc\n"})) == ["say", {"x": "\u00fc\n"}]


def test_refusal_reaches_the_caller_as_its_line(path: Path) -> None:
    with pytest.raises(CommandRefused, match="not today"):
        serve(path, partial(request, path, "refuse", {}))


def test_socket_is_for_its_owner_only_and_goes_away(path: Path) -> None:
    mode = serve(path, lambda: path.stat().st_mode)
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600
    assert not path.exists()


def test_nobody_listening_is_told_apart(path: Path) -> None:
    with pytest.raises(NotRunning):
        request(path, "say", {})
    with pytest.raises(NotRunning):
        request(path.parent / "none" / "control.sock", "say", {})


def test_stale_socket_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(os.fspath(path))
    with pytest.raises(NotRunning):
        request(path, "say", {})
    assert serve(path, partial(request, path, "say", {})) == ["say", {}]


def test_socket_of_a_running_broker_is_not_taken(path: Path) -> None:
    def second() -> None:
        with pytest.raises(ControlError, match="another broker"):
            control.listen(path)

    serve(path, second)


def test_file_in_the_way_is_not_removed(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(ControlError, match="in the way"):
        control.listen(path)
    assert path.read_text() == "precious"


def test_server_does_not_remove_the_socket_of_its_successor(path: Path) -> None:
    def replace() -> None:
        path.unlink()
        path.write_text("another's")

    serve(path, replace)
    assert path.read_text() == "another's"


def test_long_data_directory_is_reached(tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 100) / ("e" * 100)
    directory.mkdir(parents=True)
    path = directory / control.SOCKET_NAME
    assert serve(path, partial(request, path, "say", {})) == ["say", {}]
    assert not path.exists()


def test_short_path_is_used_as_it_is(path: Path) -> None:
    with reachable(Path("x/control.sock")) as name:
        assert name == "x/control.sock"


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"GET / HTTP/1.1\r\n",
        b"[]\n",
        b"{}\n",
        b'{"command": 5, "arguments": {}}\n',
        b'{"command": "say", "arguments": []}\n',
        b"[" * 100_000 + b"\n",
        b"\xff\xfe\n",
        b"x" * (REQUEST_BYTES_MAX + 1),
    ],
    ids=["empty", "http", "list", "bare", "number", "arguments", "deep", "bytes", "long"],
)
def test_what_is_no_request_is_refused(path: Path, line: bytes) -> None:
    assert "a request is a line of JSON" in json.loads(serve_raw(path, line))["error"]


def test_half_a_request_is_refused_when_the_caller_ends_it(path: Path) -> None:
    assert "error" in json.loads(serve_raw(path, b'{"command": "say"', close=True))


def test_slow_caller_is_cut_off(path: Path) -> None:
    assert "no whole request within 10 seconds" in json.loads(serve_raw(path, b'{"command"'))["error"]


def test_command_that_hangs_is_answered_in_time(path: Path) -> None:
    answer = json.loads(serve_raw(path, b'{"command": "hang", "arguments": {}}\n'))
    assert "not done within 30 seconds" in answer["error"]


def test_answer_may_be_long(path: Path) -> None:
    async def long(command: str, arguments: dict[str, Any]) -> object:
        return ["x" * 1000] * 5000

    assert len(serve(path, partial(request, path, "list", {}), long)) == 5000


def test_answer_that_is_too_long_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "ANSWER_BYTES_MAX", 1000)
    with pytest.raises(ControlError, match="the answer is longer than 1000 bytes"):
        serve(path, partial(request, path, "say", {"x": "y" * 1000}))


def test_half_a_surrogate_pair_reaches_the_command(path: Path) -> None:
    """Whoever takes texts decides what to say of one that is none."""

    async def length(command: str, arguments: dict[str, Any]) -> object:
        return [ord(one) for one in arguments["x"]]

    assert serve(path, partial(request, path, "say", {"x": "a\ud800"}), length) == [97, 0xD800]


def test_half_a_surrogate_pair_in_an_answer_is_carried(path: Path) -> None:
    assert serve(path, partial(request, path, "say", {"x": "a\ud800"})) == ["say", {"x": "a\ud800"}]


def test_answer_that_json_cannot_carry_is_told(path: Path) -> None:
    async def odd(command: str, arguments: dict[str, Any]) -> object:
        return object()

    with pytest.raises(CommandRefused, match="JSON cannot carry the answer: Object of type object is not"):
        serve(path, partial(request, path, "say", {}), odd)


def test_caller_that_goes_away_does_not_stop_the_server(path: Path) -> None:
    def rude_then_polite() -> Any:
        for data in (b"", b'{"command"', b'{"command": "say", "arguments": {}}\n'):
            with socket.socket(socket.AF_UNIX) as rude:
                rude.connect(os.fspath(path))
                rude.sendall(data)
        return request(path, "say", {})

    assert serve(path, rude_then_polite) == ["say", {}]


def test_callers_above_the_limit_are_turned_away(path: Path) -> None:
    def crowd() -> None:
        idle = [socket.socket(socket.AF_UNIX) for _ in range(CLIENTS_MAX)]
        try:
            for one in idle:
                one.connect(os.fspath(path))
            with pytest.raises(ControlError):
                request(path, "say", {})
        finally:
            for one in idle:
                one.close()

    serve(path, crowd)


def test_other_users_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "_peer_uid", lambda peer: os.geteuid() + 1)
    with pytest.raises(CommandRefused, match="only the broker's own user"):
        serve(path, partial(request, path, "say", {}))


def test_root_is_let_in(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "_peer_uid", lambda peer: 0)
    assert serve(path, partial(request, path, "say", {})) == ["say", {}]


def test_broker_that_ends_without_an_answer_is_told(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(path))
        listener.listen()

        def hang_up() -> None:
            accepted, _ = listener.accept()
            accepted.recv(1000)
            accepted.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(ControlError, match="without an answer"):
            request(path, "say", {})
        thread.join()


def test_bug_in_a_command_is_not_hidden(path: Path) -> None:
    async def broken(command: str, arguments: dict[str, Any]) -> object:
        raise AssertionError("bug")

    async def both() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(serve_control, path, broken))
            async with await trio.open_unix_socket(os.fspath(path)) as stream:
                await stream.send_all(b'{"command": "say", "arguments": {}}\n')
                await trio.sleep_forever()

    with pytest.raises(BaseExceptionGroup) as caught:
        trio.run(both)
    assert caught.value.subgroup(AssertionError) is not None

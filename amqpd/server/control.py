"""The control socket: how commands reach a running broker.

A Unix stream socket ``control.sock`` in the data directory, for its owner only. A client sends one line of
JSON, ``{"command": name, "arguments": {...}}``, and gets one back: ``{"result": ...}`` or ``{"error": "one
line"}``. The peer must have the broker's user id or be root; the mode of the socket file says the same, this
checks it where file modes are not honoured.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import struct
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import trio

SOCKET_NAME = "control.sock"
# sockaddr_un has 108 bytes, the last a zero.
PATH_BYTES_MAX = 107
REQUEST_BYTES_MAX = 256 * 1024
ANSWER_BYTES_MAX = 64 * 1024**2
CLIENTS_MAX = 16
REQUEST_SECONDS_MAX = 10.0  # from the connection to the end of the request, and again for taking the answer
COMMAND_SECONDS_MAX = 30.0
CLIENT_SECONDS_MAX = 45.0

Handle = Callable[[str, dict[str, Any]], Awaitable[object]]


class CommandRefused(Exception):
    """The command cannot be done; the text is one line for the person who gave it."""


class NotRunning(Exception):
    """No broker listens on the control socket."""


class ControlError(Exception):
    """The control socket is there but cannot be used; the text is one line."""


@contextlib.contextmanager
def reachable(path: Path) -> Iterator[str]:
    """A name for ``path`` that fits in a socket address, good inside the ``with``.

    A long path is named through a descriptor of its directory in /proc. Raises ControlError where there is no
    /proc.
    """
    name = os.fspath(path)
    if len(os.fsencode(name)) <= PATH_BYTES_MAX:
        yield name
        return
    if not os.path.isdir("/proc/self/fd"):
        raise ControlError(f"{name}: longer than {PATH_BYTES_MAX} bytes, too long for a socket here")
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def listen(path: Path) -> socket.socket:
    """A listening socket at ``path``, mode 0600; replaces the file of a broker that is gone.

    Raises ControlError when a broker answers there, or something that is no socket is in the way.
    """
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # The mode of the descriptor becomes the mode of the file, so nobody can connect before it is set.
        os.fchmod(listener.fileno(), 0o600)
        with reachable(path) as name:
            listener.bind(name)
        listener.listen(CLIENTS_MAX)
    except BaseException:
        listener.close()
        raise
    return listener


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ControlError(f"{path}: is in the way and no socket")
    try:
        _connected(path, 1.0).close()
    except NotRunning:
        path.unlink(missing_ok=True)
    else:
        raise ControlError(f"{path}: another broker answers there")


async def serve_control(path: Path, handle: Handle, *, task_status: trio.TaskStatus[None] | None = None) -> None:
    """Answer commands at ``path`` until cancelled, then remove the socket.

    ``handle(command, arguments)`` returns something JSON can carry once the change is durable; it raises
    CommandRefused with a line for the caller. Anything else it raises is a bug of ours and goes up.
    """
    import trio

    listener = listen(path)
    inode = os.stat(path).st_ino
    accepting = trio.SocketListener(trio.socket.from_stdlib_socket(_nonblocking(listener)))
    limit = trio.CapacityLimiter(CLIENTS_MAX)
    try:
        if task_status is not None:
            task_status.started()
        await trio.serve_listeners(partial(_serve_client, handle, limit), [accepting])
    finally:
        _remove_own(path, inode)


def _remove_own(path: Path, inode: int) -> None:
    # Another broker may have put its own socket there in the meantime.
    # A disk that fails is no reason to end with a traceback: the next broker replaces the file.
    with contextlib.suppress(OSError):
        if path.stat().st_ino == inode:
            path.unlink()


def _nonblocking(one: socket.socket) -> socket.socket:
    one.setblocking(False)
    return one


async def _serve_client(handle: Handle, limit: trio.CapacityLimiter, stream: trio.SocketStream) -> None:
    import trio

    async with stream:
        try:
            limit.acquire_nowait()
        except trio.WouldBlock:
            return  # the caller is told that the broker did not answer
        try:
            await _send(stream, await _answered(handle, stream))
        except trio.BrokenResourceError:
            pass  # the caller went away
        finally:
            limit.release()


async def _answered(handle: Handle, stream: trio.SocketStream) -> dict[str, object]:
    import trio

    if not _is_allowed(stream.socket):
        return {"error": "refused: only the broker's own user and root may use the control socket"}
    with trio.move_on_after(REQUEST_SECONDS_MAX) as reading:
        line = await _read_line(stream)
    if reading.cancelled_caught:
        return {"error": f"no whole request within {REQUEST_SECONDS_MAX:g} seconds"}
    request = _parsed(line)
    if request is None:
        return {"error": f"a request is a line of JSON, {REQUEST_BYTES_MAX} bytes at most"}
    with trio.move_on_after(COMMAND_SECONDS_MAX):
        try:
            return {"result": await handle(*request)}
        except CommandRefused as error:
            return {"error": str(error)}
    return {"error": f"not done within {COMMAND_SECONDS_MAX:g} seconds; it may still happen"}


def _is_allowed(peer: trio.socket.SocketType) -> bool:
    return _peer_uid(peer) in (0, os.geteuid())


def _peer_uid(peer: trio.socket.SocketType) -> int:
    if not hasattr(socket, "SO_PEERCRED"):
        return os.geteuid()  # not Linux: the socket's mode is all there is
    credentials = struct.Struct("3i")
    _, uid, _ = credentials.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size))
    assert isinstance(uid, int)
    return uid


async def _read_line(stream: trio.SocketStream) -> bytes:
    """What comes up to the first line end, the limit or the end of the stream."""
    line = bytearray()
    while len(line) <= REQUEST_BYTES_MAX and not line.endswith(b"\n"):
        more = await stream.receive_some(65536)
        if not more:
            break
        line += more
    return bytes(line)


def _parsed(line: bytes) -> tuple[str, dict[str, Any]] | None:
    if not line.endswith(b"\n") or len(line) > REQUEST_BYTES_MAX:
        return None
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        return None
    match request:
        case {"command": str(command), "arguments": dict(arguments)}:
            return command, arguments
    return None


async def _send(stream: trio.SocketStream, answer: dict[str, object]) -> None:
    import trio

    with trio.move_on_after(REQUEST_SECONDS_MAX):
        await stream.send_all(_line(answer))


def _line(answer: dict[str, object]) -> bytes:
    # Escaped, for an answer may quote half a surrogate pair, which has no UTF-8.
    try:
        return json.dumps(answer).encode() + b"\n"
    except (TypeError, ValueError, RecursionError) as error:  # of a plugin's command, say
        return json.dumps({"error": f"JSON cannot carry the answer: {error}"}).encode() + b"\n"


def request(path: Path, command: str, arguments: dict[str, Any]) -> Any:
    """Send a command to the broker at ``path`` and wait for its result.

    Raises NotRunning when no broker listens, CommandRefused with the broker's line, ControlError for the
    rest.
    """
    message = json.dumps({"command": command, "arguments": arguments}, ensure_ascii=False)
    # Half a surrogate pair in an argument is for the broker to refuse, in its words.
    line = message.encode("utf-8", "surrogatepass") + b"\n"
    if len(line) > REQUEST_BYTES_MAX:
        raise ControlError(f"the command is longer than {REQUEST_BYTES_MAX} bytes")
    with _connected(path, CLIENT_SECONDS_MAX) as connection:
        try:
            # A broker that refuses at once may hang up before it has read all; its answer is there then.
            with contextlib.suppress(BrokenPipeError):
                connection.sendall(line)
            with connection.makefile("rb") as reader:
                text = reader.readline(ANSWER_BYTES_MAX)
        except TimeoutError:
            raise ControlError(f"{path}: the broker did not answer within {CLIENT_SECONDS_MAX:g} seconds") from None
        except OSError as error:
            raise ControlError(f"{path}: {error.strerror}") from None
    if len(text) == ANSWER_BYTES_MAX:
        raise ControlError(f"{path}: the answer is longer than {ANSWER_BYTES_MAX} bytes")
    try:
        answer = json.loads(text)
    except ValueError:
        raise ControlError(f"{path}: the broker closed the control connection without an answer") from None
    if "error" in answer:
        raise CommandRefused(answer["error"])
    return answer["result"]


def _connected(path: Path, timeout: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout)
    try:
        with reachable(path) as name:
            connection.connect(name)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        connection.close()
        raise NotRunning from None
    except OSError as error:
        connection.close()
        raise ControlError(f"{path}: {error.strerror or 'no answer'}") from None
    return connection

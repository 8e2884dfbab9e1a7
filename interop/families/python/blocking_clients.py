"""What the programs of pika, py-amqp, AMQPStorm and rabbitpy share: values to send, and a consumer that comes back."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from interop.families.python.checks import AMQP, PATIENCE, check, control, wait_for

MOMENT = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)

# Header values that every one of these clients reads as it has written them.
TABLE: dict[str, Any] = {
    "true": True,
    "false": False,
    "string": "Größe 漢字 🐇",
    "empty-string": "",
    "null": None,
    "int32": [-(2**31), 2**31 - 1],
    "table": {"deep": {"deeper": [1, {"x": "y"}]}},
    "empty-table": {},
    "empty-array": [],
}

# AMQPStorm and rabbitpy write with pamqp: the narrowest integer that holds a number, floats of 32 bits, and bytes from
# a bytearray. The decimal is positive because it is read without its sign.
PAMQP_TABLE = {
    **TABLE,
    "int8": [-(2**7), 2**7 - 1],
    "int16": [-(2**15), 2**15 - 1],
    "uint16": 2**16 - 1,
    "uint32": 2**32 - 1,
    "int64": [-(2**63), 2**63 - 1],
    "float": [0.5, -3.4028234663852886e38],
    "decimal": Decimal("21474836.47"),
    "bytes": bytearray(b"\x00\xff\xfe"),
    "timestamp": MOMENT,
    "array": [1, 2**40, 0.5, "three", True, None, [4]],
}

PROPERTIES: dict[str, Any] = {
    "content_type": "application/json",
    "content_encoding": "utf-8",
    "delivery_mode": 2,
    "priority": 7,
    "correlation_id": "correlation",
    "reply_to": "reply",
    "expiration": "60000",
    "message_id": "message",
    "user_id": AMQP.user,
    "app_id": "app",
}

# pamqp refuses to write the property cluster_id.
PAMQP_PROPERTIES = {**PROPERTIES, "timestamp": MOMENT, "message_type": "type", "headers": PAMQP_TABLE}

# For a headers exchange: what two queues are bound with, the headers of three messages, and who gets which of them.
BOUND: dict[str, Any] = {"colour": "red", "size": 5}
COLOURED: tuple[dict[str, Any], ...] = ({"colour": "red", "size": 5}, {"colour": "red"}, {"colour": "blue"})
MATCHES = {"all": [0], "any": [0, 1]}

PRIORITIES = (1, 5, 3, 0, 9, None, 5, 9)  # None: without the property
BY_PRIORITY = (4, 7, 1, 6, 2, 0, 3, 5)  # their places in the order in which they are received


def bodies_around(frame_max: int) -> Iterator[bytes]:
    """Nothing, what just fits into one frame, what just does not, and 20 MiB."""
    for size in (0, frame_max - 8, frame_max - 7, 20 * 2**20):
        yield bytes(range(256)) * (size // 256) + bytes(size % 256)


def check_expiry(declare: Callable[[int], object], is_there: Callable[[], bool]) -> None:
    """``declare`` makes a queue that expires after so many milliseconds; ``is_there`` must not count as use."""
    expires_ms = 1000
    began = time.monotonic()
    declare(expires_ms)
    # On a busy machine it may have gone before the first look, but not before its time.
    check("x-expires: there at first", is_there() or time.monotonic() - began >= expires_ms / 1000)
    wait_for("x-expires: an unused queue is deleted", lambda: not is_there())


class ReconnectingConsumer(threading.Thread):
    """A consumer without recovery in its client: everything from the connection on again after it broke.

    ``session`` connects, calls ``connected()``, and consumes until ``take()`` is true or one of the errors comes.
    Before ``take()`` the broker must have had the ack: the next thing may be its restart.
    """

    def __init__(self, session: Callable[["ReconnectingConsumer"], None], errors: tuple[type[Exception], ...]) -> None:
        super().__init__(daemon=True)
        self.bodies: list[str] = []
        self._session = session
        self._errors = errors
        self._connections = 0

    def run(self) -> None:
        while "stop" not in self.bodies:
            try:
                self._session(self)
            except self._errors:
                time.sleep(0.1)

    def connected(self) -> None:
        self._connections += 1

    def take(self, body: str) -> bool:
        """Keep the body of an acknowledged message; tells whether it is the last one."""
        self.bodies.append(body)
        return body == "stop"

    def check_restart(self) -> None:
        """Start with one message, ``before``, and restart the broker."""
        self.start()
        wait_for("it consumes", lambda: self.bodies == ["before"])
        control("restart")
        wait_for("it consumes again", lambda: self._connections > 1)

    def check_end(self) -> None:
        """See that it got the messages ``after`` and ``stop``."""
        self.join(PATIENCE)
        check("consuming goes on", self.bodies, ["before", "after", "stop"])

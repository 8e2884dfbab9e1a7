"""One session of any bytes against a broker in this process, and what must hold whatever they are.

1. Nothing is raised by ``receive_data``, by a turn, a commit or a timer; a fault of ours fails the trial.
2. What the broker sends is whole frames (or its protocol header), and no text of a Python error.
3. The connection ends up closed, or still answers.
4. Unfinished input is bounded by the frame size and the largest message.
5. Another connection goes on, and nothing of the ended one is left.
"""

from __future__ import annotations

from collections.abc import Iterable

from amqpd.session.connection import CLOSED, CLOSING, RUNNING, STARTING
from amqpd.spec.constants import PROTOCOL_HEADER
from amqpd.wire.frames import FRAME_SIZE_TOLERANCE
from tests.support.linked import Linked, LinkedClient, method

MESSAGE_MAX = 1 << 16
FRAME_MAX = 1 << 16
LONGEST_WAIT_MS = 60_000  # no timer of a connection that is not open lies further ahead
CONNECTION_CLOSE_OK = b"\x01\x00\x00\x00\x00\x00\x04\x00\x0a\x00\x33\xce"
CONNECTION_CLOSE = b"\x00\x0a\x00\x32"
NEVER_SENT = (b"Traceback", b'File "', b".py", b"Error(", b"Exception")


class Suspect(LinkedClient):
    """A client whose side is not played: what comes is kept as bytes."""

    def __init__(self, linked: Linked, number: int) -> None:
        super().__init__(linked, number)
        self.sent = bytearray()

    def flush(self) -> None:
        self.sent += self.connection.outbox.take()
        self.ended = self.connection.state == CLOSED
        if self.connection.starved:
            self.connection.drained()


class Trial:
    """A broker with a witness who consumes from a queue of its own."""

    def __init__(self) -> None:
        self.linked = Linked(max_message_size=MESSAGE_MAX, frame_max=FRAME_MAX)
        self.witness = self.linked.client(frame_max=FRAME_MAX)
        self.witness.call("queue.declare", queue="witness", exclusive=True)
        self.witness.call("basic.consume", queue="witness", no_ack=True)
        self.asked = 0

    def run(self, pieces: Iterable[bytes]) -> Suspect:
        """Raises AssertionError, or whatever was raised, when something does not hold."""
        suspect = Suspect(self.linked, 1_000_000 + self.asked)
        self.linked.clients.append(suspect)
        for piece in pieces:
            if suspect.ended or not self._readable(suspect):
                break
            suspect.feed(piece)
            self._check_bounded(suspect)
        self.linked.settle()
        self._check_end(suspect)
        self._check_sent(bytes(suspect.sent))
        self.linked.clients.remove(suspect)
        self._check_witness()
        self._check_nothing_left()
        return suspect

    def _readable(self, suspect: Suspect) -> bool:
        """As the server: what is stalled or paused is not read until commits and pages let it go on."""
        if not suspect.connection.wants_read():
            self.linked.settle()
        return suspect.connection.wants_read()

    def _check_bounded(self, suspect: Suspect) -> None:
        connection = suspect.connection
        if connection.state == CLOSED or not connection.wants_read():
            return
        limit = connection.reader.payload_max + FRAME_SIZE_TOLERANCE + 8
        assert connection.reader.pending() <= limit
        assert len(connection.greeting) < 8
        for channel in connection.channels.values():
            assert channel.partial is None or len(channel.partial) <= MESSAGE_MAX

    def _check_end(self, suspect: Suspect) -> None:
        """Closed, or closed by its timer; a running connection answers connection.close."""
        connection = suspect.connection
        if connection.state == RUNNING and connection.wants_read() and not connection.reader.pending():
            before = len(suspect.sent)
            suspect.feed(method("connection.close", 0, reply_code=200))
            answer = bytes(suspect.sent[before:])
            assert CONNECTION_CLOSE_OK in answer or CONNECTION_CLOSE in answer
        if connection.state in (STARTING, CLOSING):
            self.linked.advance(LONGEST_WAIT_MS)
            assert connection.state == CLOSED
        elif connection.state == RUNNING:
            suspect.hang_up()
        assert connection.state == CLOSED
        assert connection.channels == {}

    def _check_sent(self, sent: bytes) -> None:
        for text in NEVER_SENT:
            assert text not in sent, sent
        at = 0
        while at < len(sent) and not sent.startswith(PROTOCOL_HEADER, at):
            size = int.from_bytes(sent[at + 3 : at + 7])
            assert sent[at] in (1, 2, 3, 8)
            assert size <= FRAME_MAX - 8
            assert sent[at + 7 + size] == 0xCE
            at += size + 8
        assert at == len(sent) or at + 8 == len(sent)

    def _check_witness(self) -> None:
        self.asked += 1
        question = b"witness %d" % self.asked
        self.witness.received()
        self.witness.publish("", "witness", question)
        assert self.witness.bodies() == [question]
        self.witness.call("queue.declare", queue="witness", passive=True)

    def _check_nothing_left(self) -> None:
        broker = self.linked.broker
        assert list(broker.connections.values()) == [self.witness.connection]
        for vhost in broker.vhosts.values():
            for queue in vhost.queues.values():
                assert queue.owner in (None, self.witness.connection)
                assert queue.unacked_count() == 0
                assert not [one for one in queue.consumers() if queue.name != "witness"]
        assert not self.linked.environment.logins
        assert not broker.waiting_for_page
        assert not broker.throttled

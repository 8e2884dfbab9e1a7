"""A connection without its socket: bytes in, bytes in the outbox, deadlines. Hot.

1. ``receive_data`` reads frames as long as there are any and hands each to its channel. An ``AmqpError`` closes the
   channel or the connection, here and nowhere else.
2. After channel.close or connection.close was sent, frames of that channel or connection are dropped until the
   answer comes; a settlement that crosses a channel close is no fault of the client.
3. ``stalled`` stops the reading of frames in the middle (a login under way, a basic.get that waits for a page);
   ``paused`` asks the edge not to read the socket (the journal is full, an alarm is on).
4. The handshake lives in ``session/handshake.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64

from amqpd.auth.backend import User
from amqpd.broker.broker import ConnectionPort
from amqpd.broker.events import INTERNAL
from amqpd.broker.queue import ChannelPort, Queue
from amqpd.broker.timers import Timer
from amqpd.broker.vhost import VHost
from amqpd.session.channel import Channel
from amqpd.session.session_events import channel_created, connection_closed
from amqpd.spec.constants import (
    BASIC_ACK,
    BASIC_CANCEL_OK,
    BASIC_NACK,
    BASIC_PUBLISH,
    BASIC_REJECT,
    CHANNEL_CLOSE,
    CHANNEL_CLOSE_OK,
    CHANNEL_OPEN,
    CHANNEL_OPEN_OK,
    CONNECTION_BLOCKED,
    CONNECTION_CLOSE,
    CONNECTION_CLOSE_OK,
    CONNECTION_UNBLOCKED,
    CONNECTION_UPDATE_SECRET,
    CONNECTION_UPDATE_SECRET_OK,
    FRAME_BODY,
    FRAME_HEADER,
    FRAME_HEARTBEAT,
    FRAME_METHOD,
    METHODS,
)
from amqpd.spec.errors import (
    AmqpError,
    ChannelError,
    CommandInvalid,
    ConnectionForced,
    FrameError,
    InternalError,
    LoginRefused,
    NotAllowed,
    UnexpectedFrame,
    snippet,
)
from amqpd.wire.frames import FrameReader
from amqpd.wire.methods import ArgumentReader, MethodWriter
from amqpd.wire.outbox import Outbox

if TYPE_CHECKING:
    from amqpd.session.environment import Environment
    from amqpd.session.handshake import Handshake

STARTING: Final = 0
RUNNING: Final = 1
CLOSING: Final = 2  # connection.close was sent
CLOSED: Final = 3  # nothing more to say: the edge flushes and closes the socket

# How long a peer may take to answer connection.close (less where its heartbeat is shorter), and how long one is
# kept that sent no frames or is not let in.
CLOSE_OK_TIMEOUT_MS: Final = 30_000
CLOSE_TIMEOUT_MS: Final = 3000
# After these a peer gets the shorter time: what it sends cannot be read, or it is wanted gone.
CLOSED_SOON: Final = (FrameError.code, ConnectionForced.code, LoginRefused.code)
# Deleted queues in ``exclusive_queues`` before it is made anew.
EXCLUSIVE_STALE_MAX: Final = 50
# Answers and settlements of a client that does not know yet that its channel is closed.
CROSSES_A_CLOSE: Final = (BASIC_ACK, BASIC_NACK, BASIC_REJECT, BASIC_CANCEL_OK)
HEARTBEAT_FRAME: Final = b"\x08\x00\x00\x00\x00\x00\x00\xce"
NOBODY: Final = User("", ())


class SendTimer(Timer):
    """Sends a heartbeat when nothing was sent for half the interval."""

    def __init__(self, connection: Connection, interval_ms: int) -> None:
        self.connection = connection
        self.interval_ms = interval_ms
        self.flushes = -1

    def fire(self, now: int) -> None:
        connection = self.connection
        if connection.state == CLOSED:
            return
        # What waits for a peer to read it says no less than a heartbeat behind it.
        outbox = connection.outbox
        idle = outbox.flushes == self.flushes and not outbox.size()
        self.flushes = int(outbox.flushes)
        if idle:
            outbox.write(HEARTBEAT_FRAME)
            self.flushes += 1  # what this heartbeat itself will count
        connection.environment.broker.timers.set(self, now + self.interval_ms)


class ReceiveTimer(Timer):
    """Drops a connection that was silent for two whole intervals, without a frame (RabbitMQ 3.10.8, seen)."""

    def __init__(self, connection: Connection, interval_ms: int) -> None:
        self.connection = connection
        self.interval_ms = interval_ms
        self.received = -1
        self.silent = 0

    def fire(self, now: int) -> None:
        connection = self.connection
        if connection.state == CLOSED:
            return
        unchanged = connection.received == self.received and connection.wants_read()
        self.silent = self.silent + 1 if unchanged else 0
        self.received = int(connection.received)
        if self.silent >= 2:
            connection.lost("missed heartbeats from client")
            return
        connection.environment.broker.timers.set(self, now + self.interval_ms)


class CloseTimer(Timer):
    """Ends a connection whose peer does not answer connection.close, or does not get through the handshake."""

    def __init__(self, connection: Connection, reason: str) -> None:
        self.connection = connection
        self.reason = reason

    def fire(self, now: int) -> None:
        self.connection.lost(self.reason)


@final
class Connection(ConnectionPort):
    """``number``: unique in this process. ``name``: ``peer -> host`` as operators see it.

    ``received``: how often bytes came in. ``starved``: a consumer was skipped because the outbox was full.
    ``unread``: the outbox is far above its mark, so frames are not handled until the peer has read.
    ``hears_*``: capabilities the client announced.
    """

    def __init__(self, environment: Environment, number: int, name: str, handshake: Handshake) -> None:
        self.environment: Environment = environment
        self.number: int = number
        self.name: str = name
        self.handshake: Handshake = handshake
        self.broker = environment.broker
        self.outbox: Outbox = Outbox(environment.broker.outboxes, environment.outbox_bytes_max)
        self.reader: FrameReader = FrameReader(4096 - 8)
        self.state: i64 = STARTING
        self.greeted: bool = False
        self.greeting: bytes = b""
        self.user: User = NOBODY
        self.vhost: VHost | None = None
        self.client_name: str = ""
        self.client_properties: dict[str, object] = {}
        self.channel_max: i64 = environment.channel_max
        self.heartbeat: int = 0
        self.hears_cancel: bool = False
        self.hears_blocked: bool = False
        self.hears_refusal: bool = False
        self.channels: dict[int, Channel] = {}
        self.last_channel: Channel | None = None
        self.exclusive_queues: list[Queue] = []
        self.exclusive_queues_max: i64 = EXCLUSIVE_STALE_MAX
        self.confirms_due: list[Channel] = []
        self.received: i64 = 0
        self.stalled: bool = False
        self.paused: bool = False
        self.blocked: bool = False
        self.starved: bool = False
        self.wrote: bool = False  # something for the journal came in with this input
        self.unread: bool = False
        self.waiting_get: tuple[Channel, ArgumentReader] | None = None
        self.send_timer: SendTimer | None = None
        self.receive_timer: ReceiveTimer | None = None
        self.close_timer: CloseTimer = CloseTimer(self, "handshake timeout")
        environment.broker.connections[number] = self

    # Input

    def receive_data(self, data: bytes) -> None:
        """Bytes came in. Everything they ask for is done when this returns, but for what the turn delivers."""
        self.received += 1
        if self.greeted:
            self.reader.feed(data)
        else:
            self.greeting += data
        self.process()

    def process(self) -> None:
        """Read frames until there are none, or until the connection is stalled or closed."""
        events = self.broker.events
        actor = events.act_as(self.user.name)
        while True:
            try:
                if self.greeted or self.handshake.greet(self):
                    self._read_frames()
                break
            except AmqpError as error:
                self.fail(error)
            except Exception as error:  # ours: this connection gets 541, the others never hear of it
                self.environment.log.crashed(self, error)
                self.fail(InternalError("internal error", 0))
        if self.confirms_due:
            due = self.confirms_due
            self.confirms_due = []
            for channel in due:
                channel.release_confirms()
        events.actor = actor
        if self.wrote:
            self.wrote = False
            if self.broker.shard.crowded() and self.state == RUNNING and not self.paused:
                self.paused = True
                self.broker.throttled[self] = True

    def _read_frames(self) -> None:
        reader = self.reader
        while not self.stalled and not self.unread and self.state != CLOSED and reader.next_frame():
            kind = reader.kind
            number = reader.channel
            channel = self.last_channel
            if channel is None or channel.number != number:
                channel = self.channels.get(int(number))
                self.last_channel = channel
            if channel is None or channel.closing or self.state != RUNNING:
                self._other_frame(kind, number, channel)
                continue
            start = reader.start
            end = reader.end
            if kind == FRAME_METHOD:
                if end - start < 4:
                    raise self._unknown_frame()
                method = method_at(reader.buffer, start)
                if method == BASIC_PUBLISH:
                    channel.publish_method(reader.buffer, start + 4, end)
                elif method == BASIC_ACK or method == BASIC_NACK or method == BASIC_REJECT:
                    channel.settlement(method, reader.buffer, start + 4, end)
                else:
                    self._channel_method(channel, method, start + 4, end)
            elif kind == FRAME_HEADER:
                channel.content_header(reader.buffer, start, end)
            elif kind == FRAME_BODY:
                channel.content_body(reader.buffer, start, end)
            else:
                raise self._odd_frame()

    def _channel_method(self, channel: Channel, method: i64, start: i64, end: i64) -> None:
        if method == CHANNEL_CLOSE:
            check_close(ArgumentReader(int(method), self.reader.buffer[start:end]))
            self._drop_channel(channel)
            self.outbox.write(MethodWriter(CHANNEL_CLOSE_OK).frame(int(channel.number)))
        elif channel.committing:
            raise ChannelError("unexpected command while processing 'tx.commit'", int(method))
        elif not channel.method(method, self.reader.buffer, start, end):
            raise CommandInvalid("unimplemented method", int(method))
        # One read can hold thousands of basic.get, each answered with a large message.
        if self.outbox.far_behind():
            self.unread = True

    def _other_frame(self, kind: i64, number: i64, channel: Channel | None) -> None:
        """Frames off the beaten track: channel 0, channels that are closing or not open, states but running."""
        reader = self.reader
        method: i64 = 0
        if kind == FRAME_METHOD and reader.end - reader.start >= 4:
            method = method_at(reader.buffer, reader.start)
        if self.state == CLOSING:
            self._while_closing(number, method)
        elif kind < FRAME_METHOD or kind > FRAME_BODY:
            if kind != FRAME_HEARTBEAT or number:
                raise self._odd_frame()
        elif kind == FRAME_METHOD and reader.end - reader.start < 4:
            raise self._unknown_frame()
        elif number == 0:
            if kind != FRAME_METHOD:
                raise self._odd_frame()
            self._connection_method(method)
        elif self.state != RUNNING:
            raise ChannelError(f"unexpected frame on channel {number} in connection state {self.handshake.state}", 0)
        elif channel is not None:
            self._while_channel_closes(channel, method)
        elif kind != FRAME_METHOD:
            raise UnexpectedFrame("expected method frame, got non method frame instead", 0)
        elif method == CHANNEL_OPEN:
            self._open_channel(number)
        elif method == CHANNEL_CLOSE_OK:
            raise CommandInvalid("unimplemented method", int(method))
        elif method not in CROSSES_A_CLOSE:
            raise ChannelError("expected 'channel.open'", int(method))

    def _odd_frame(self) -> AmqpError:
        """A frame that does not belong where it is: content on channel 0, or a heartbeat elsewhere."""
        reader = self.reader
        kind = reader.kind
        if kind != FRAME_HEARTBEAT and kind != FRAME_HEADER and kind != FRAME_BODY:
            return self._unknown_frame()
        return UnexpectedFrame(f"type {kind}, {snippet(reader.buffer[reader.start : reader.end])}", 0)

    def _unknown_frame(self) -> AmqpError:
        reader = self.reader
        shown = snippet(reader.buffer[reader.start : reader.end])
        return FrameError(f"type {reader.kind}, {shown}: unknown_frame", 0)

    def _connection_method(self, method: i64) -> None:
        reader = self.reader
        arguments = ArgumentReader(int(method), reader.buffer[reader.start + 4 : reader.end])
        if method == CONNECTION_CLOSE:
            check_close(arguments)
            self.outbox_close_ok()
        elif int(method) not in METHODS:
            raise CommandInvalid("unknown method", int(method))
        elif self.state == STARTING:
            self.handshake.method(self, int(method), arguments)
        elif method == CONNECTION_UPDATE_SECRET:
            arguments.longstr()
            arguments.shortstr()
            arguments.end()
            self.outbox.write(MethodWriter(CONNECTION_UPDATE_SECRET_OK).frame(0))
        else:
            raise ChannelError("unexpected method in connection state running", int(method))

    def outbox_close_ok(self) -> None:
        """The client closes: first everything is shut down, so that it may declare the same names at once."""
        self.terminate()
        self.outbox.write(MethodWriter(CONNECTION_CLOSE_OK).frame(0))
        self.environment.log.closed(self)
        self._closed()

    def _while_closing(self, number: i64, method: i64) -> None:
        if number:
            return
        if method == CONNECTION_CLOSE_OK:
            self._closed()
        elif method == CONNECTION_CLOSE:
            self.outbox.write(MethodWriter(CONNECTION_CLOSE_OK).frame(0))

    def _while_channel_closes(self, channel: Channel, method: i64) -> None:
        if method == CHANNEL_CLOSE_OK:
            self._drop_channel(channel)
        elif method == CHANNEL_CLOSE:
            self.outbox.write(MethodWriter(CHANNEL_CLOSE_OK).frame(int(channel.number)))
        elif method == CHANNEL_OPEN:
            raise ChannelError("second 'channel.open' seen", int(method))

    def _open_channel(self, number: i64) -> None:
        vhost = self.vhost
        assert vhost is not None
        if self.channel_max and len(self.channels) >= self.channel_max:
            raise NotAllowed(
                f"number of channels opened ({len(self.channels)}) has reached the negotiated channel_max "
                f"({self.channel_max})",
                0,
            )
        self._check_user_channels()
        channel = self.channels[int(number)] = Channel(self, number, vhost)
        if self.broker.events.listening:
            channel_created(channel)
        self.outbox.write(MethodWriter(CHANNEL_OPEN_OK).longstr(b"").frame(int(number)))

    def _check_user_channels(self) -> None:
        limit = self.environment.limiter.user_limit(self.user.name, "max-channels")
        if limit < 0:
            return
        opened = 0
        for other in self.broker.connections.values():
            if isinstance(other, Connection) and other.user.name == self.user.name:
                opened += len(other.channels)
        if opened >= limit:
            raise NotAllowed(
                f"number of channels opened for user '{self.user.name}' has reached the maximum allowed user limit "
                f"of ({limit})",
                0,
            )

    def _drop_channel(self, channel: Channel) -> None:
        channel.terminate()
        del self.channels[int(channel.number)]
        self.last_channel = None

    # Faults and ends

    def fail(self, error: AmqpError) -> None:
        """Answer a fault: channel.close, connection.close, or during the handshake what a client can hear."""
        reader = self.reader
        method = error.method
        if method is None:
            method = 0
            if reader.kind == FRAME_HEADER or reader.kind == FRAME_BODY:
                method = BASIC_PUBLISH
            elif reader.kind == FRAME_METHOD and reader.end - reader.start >= 4:
                method = int(method_at(reader.buffer, reader.start))
        if self.state == CLOSING or self.state == CLOSED:
            # A fault in what comes after our close: nothing of it can be trusted any more.
            self._closed()
            return
        if not self.handshake.hears_errors(error):
            # RabbitMQ does not trust a peer this early: it closes in silence, and not at once.
            self.environment.log.refused(self, error.reply_text)
            self.end_silently()
            return
        channel = self.channels.get(int(reader.channel)) if not error.closes_connection else None
        self.environment.log.failed(self, int(channel.number) if channel else 0, error.code, error.reply_text)
        if channel is not None:
            self._end_channel(channel, error, method)
            return
        self.terminate()
        self.state = CLOSING
        # Whatever held its frames back: the answer must be read.
        self.stalled = self.blocked = False
        self.waiting_get = None
        self.send_close(CONNECTION_CLOSE, error.code, error.reply_text, method, 0)
        self.close_timer.reason = "no connection.close-ok"
        wait = CLOSE_TIMEOUT_MS
        if error.code not in CLOSED_SOON:
            wait = min(self.heartbeat * 1000 or CLOSE_OK_TIMEOUT_MS, CLOSE_OK_TIMEOUT_MS)
        self.broker.timers.set(self.close_timer, self.broker.now + wait)

    def close_channel(self, channel: Channel, error: AmqpError, method: int) -> None:
        """Close a channel for something other than what it just sent; ``method`` is 0 where no method is to blame."""
        self.environment.log.failed(self, int(channel.number), error.code, error.reply_text)
        self._end_channel(channel, error, method)

    def _end_channel(self, channel: Channel, error: AmqpError, method: int) -> None:
        channel.terminate()
        channel.closing = True
        self.send_close(CHANNEL_CLOSE, error.code, error.reply_text, method, int(channel.number))

    def send_close(self, close: int, code: int, text: str, method: int, channel: int) -> None:
        writer = MethodWriter(close).short(code).shortstr(text)
        self.outbox.write(writer.short(method >> 16).short(method & 0xFFFF).frame(channel))

    def own(self, queue: Queue) -> None:
        """An exclusive queue ends with this connection; those deleted before are forgotten now and then."""
        queues = self.exclusive_queues
        queues.append(queue)
        if len(queues) > self.exclusive_queues_max:
            self.exclusive_queues = [one for one in queues if not one.deleted]
            self.exclusive_queues_max = 2 * len(self.exclusive_queues) + EXCLUSIVE_STALE_MAX

    def terminate(self) -> None:
        """Shut down all channels and delete the exclusive queues."""
        for channel in list(self.channels.values()):
            channel.terminate()
        self.channels.clear()
        self.last_channel = None
        self.confirms_due = []
        queues = self.exclusive_queues
        self.exclusive_queues = []
        vhost = self.vhost
        actor = self.broker.events.act_as(INTERNAL)
        for queue in queues:
            if vhost is not None and not queue.deleted and vhost.queues.get(queue.name) is queue:
                vhost.delete_queue(queue)
        self.broker.events.actor = actor

    def _closed(self) -> None:
        """Nothing more will be read; the edge closes the socket once the outbox is flushed."""
        broker = self.broker
        if broker.events.listening and self.state != CLOSED and self.vhost is not None:
            connection_closed(self)
        self.state = CLOSED
        broker.connections.pop(self.number, None)
        broker.throttled.pop(self, None)
        broker.waiting_for_page.pop(self, None)
        for timer in (self.send_timer, self.receive_timer, self.close_timer):
            if timer is not None:
                broker.timers.cancel(timer)
        self.outbox.touch()

    def lost(self, reason: str) -> None:
        """The socket ended, or has to: no frame can be sent any more."""
        if self.state == CLOSED:
            return
        if self.state != CLOSING:
            self.environment.log.lost(self, reason)
        self.terminate()
        self._closed()

    def end_silently(self) -> None:
        """A peer that is not let in and could not understand why: closed after three seconds without a frame."""
        self.stalled = True
        self.close_timer.reason = "refused"
        self.broker.timers.set(self.close_timer, self.broker.now + CLOSE_TIMEOUT_MS)

    # What the edge and the broker call

    def wants_read(self) -> bool:
        return not (self.paused or self.blocked or self.stalled or self.unread)

    def drained(self) -> None:
        """The outbox got shorter after a consumer was skipped, or the peer not heard, because of it."""
        if self.outbox.full():
            return
        if self.starved:
            self.starved = False
            for channel in self.channels.values():
                channel.resume_consumers()
        if self.unread:
            self.unread = False
            self.process()

    def room_again(self) -> None:
        broker = self.broker
        self.paused = self in broker.throttled
        waiting = self.waiting_get
        if waiting is not None and self not in broker.waiting_for_page:
            self.waiting_get = None
            self.stalled = False
            channel, arguments = waiting
            if not channel.closed:
                self._retry_get(channel, arguments)
            self.process()
        self.outbox.touch()

    def _retry_get(self, channel: Channel, arguments: ArgumentReader) -> None:
        arguments.at = 0
        try:
            channel.handle(self.environment.handlers[arguments.method], arguments)
        except AmqpError as error:
            error.method = arguments.method
            self.fail(error)
        except Exception as error:
            self.environment.log.crashed(self, error)
            self.fail(InternalError("internal error", 0))

    def wait_for_page(self, channel: Channel, arguments: ArgumentReader) -> None:
        """A basic.get whose message is still on disk: read no further frame until it was read."""
        self.stalled = True
        self.waiting_get = (channel, arguments)
        self.broker.waiting_for_page[self] = True

    def wait_for_commit(self, channel: Channel, arguments: ArgumentReader) -> None:
        """A basic.get behind a reply that waits for the disk: read no further frame until it is there."""
        self.stalled = True
        self.waiting_get = (channel, arguments)
        self.broker.throttled[self] = True

    def publishes_under_alarm(self) -> None:
        """A content header came in while an alarm is on: tell the client once, and stop reading.

        What was read already waits, too: RabbitMQ answers nothing that comes after the publish.
        """
        self.blocked = True
        self.stalled = True
        if self.hears_blocked:
            self.outbox.write(MethodWriter(CONNECTION_BLOCKED).shortstr(self.broker.alarm).frame(0))
        self.outbox.touch()

    def alarm_changed(self, reason: str) -> None:
        if reason or not self.blocked:
            return
        self.blocked = False
        self.stalled = False
        if self.hears_blocked and self.state == RUNNING:
            self.outbox.write(MethodWriter(CONNECTION_UNBLOCKED).frame(0))
        self.outbox.touch()
        self.process()

    def force_close(self, text: str) -> None:
        if self.state == RUNNING:
            self.fail(ConnectionForced(text, 0))
        elif self.state == STARTING:
            self.lost(text)

    def vhost_name(self) -> str:
        return self.vhost.name if self.vhost is not None else ""

    def process_id(self) -> str:
        return self.broker.events.process_id(self.number, 0)

    def channel(self, number: i64) -> ChannelPort | None:
        return self.channels.get(int(number))

    def check_user_id(self, octets: bytes) -> None:
        self.handshake.check_user_id(self, octets)

    def start_heartbeats(self, seconds: int) -> None:
        """0 means none."""
        self.heartbeat = seconds
        if not seconds:
            return
        now = int(self.broker.now)
        self.send_timer = SendTimer(self, seconds * 500)
        self.receive_timer = ReceiveTimer(self, seconds * 1000)
        self.broker.timers.set(self.send_timer, now + seconds * 500)
        self.broker.timers.set(self.receive_timer, now + seconds * 1000)


def check_close(arguments: ArgumentReader) -> None:
    """Read through connection.close or channel.close: what a client says in it changes nothing."""
    arguments.short()
    arguments.shortstr()
    arguments.long()
    arguments.end()


def method_at(buffer: bytes, at: i64) -> i64:
    """Class and method id as one number."""
    return (i64(buffer[at]) << 24) | (i64(buffer[at + 1]) << 16) | (i64(buffer[at + 2]) << 8) | i64(buffer[at + 3])

"""A channel: publishes in, deliveries out, settlements. Hot.

A message's way begins here: ``publish_method`` finds the route (remembered for the same exchange and key as long as
topology and permissions stand), ``content_header`` and ``content_body`` gather the content, ``_complete`` checks what
its properties ask for and hands the message to the queues. Everything that is not on that way lives in the
``*_methods`` modules, one function for each method.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from librt.strings import BytesWriter
from mypy_extensions import i64

from amqpd.auth.permissions import WRITE
from amqpd.broker.events import INTERNAL
from amqpd.broker.exchange import Exchange
from amqpd.broker.journal import CommitPort
from amqpd.broker.message import Address, Entry, Message
from amqpd.broker.queue import LOST, NACKED, REJECTED, ChannelPort, Consumer, Destination, Queue
from amqpd.broker.router import Route, leads_nowhere
from amqpd.broker.vhost import REPLY_TO, VHost
from amqpd.session.ack_timeout import AckTimeouts, expect_acknowledgement
from amqpd.session.confirms import Confirms
from amqpd.session.delivery_headers import counted
from amqpd.session.firehose import delivered, published
from amqpd.session.prefetch import Prefetch
from amqpd.session.session_events import channel_closed
from amqpd.session.unacked import Unacked
from amqpd.spec.constants import (
    BASIC_ACK,
    BASIC_CANCEL,
    BASIC_NACK,
    BASIC_PUBLISH,
    BASIC_REJECT,
    BASIC_RETURN,
    CLASS_BASIC,
    NO_ROUTE,
    REPLY_NAMES,
)
from amqpd.spec.errors import (
    AccessRefused,
    FrameError,
    NotFound,
    NotImplementedByBroker,
    PreconditionFailed,
    UnexpectedFrame,
    snippet,
)
from amqpd.wire.basic import IMMEDIATE, MANDATORY, publish_fields, settlement_tag
from amqpd.wire.content import ContentHeader, header_from_properties, with_reply_to
from amqpd.wire.methods import ArgumentReader, MethodWriter

if TYPE_CHECKING:
    from amqpd.session.connection import Connection
    from amqpd.session.environment import Handler
    from amqpd.session.transaction import Transaction

# Routes a channel remembers; a publisher with more keys than this has them looked up again.
ROUTES_MAX: Final = 4096

# RabbitMQ's limit of what a content header may announce at all: 512 MiB.
CONTENT_MAX: Final = 536870912

_METHOD: Final = 0
_HEADER: Final = 1
_BODY: Final = 2

REPLY_TO_OCTETS: Final = REPLY_TO.encode()


@final
class Commits(CommitPort):
    """Tells a channel of commits. (A class has one native base: the channel is a ChannelPort already.)"""

    def __init__(self, channel: Channel) -> None:
        self.channel: Channel = channel
        self.batch: i64 = -1  # the open batch it is registered with

    def batch_committed(self, number: i64) -> None:
        if self.batch == number:
            # The same number can come again: a batch that had nothing to write leaves it to the next.
            self.batch = -1
        self.channel.batch_committed(number)


@final
class Channel(ChannelPort):
    """``last_queue``: name of the queue declared last, for methods that give none.

    ``closing``: channel.close was sent; frames are dropped until close-ok.
    ``flowing``: cleared by channel.flow(false), which pauses deliveries.
    ``ack_timeouts``: None while no delivery here could time out.
    """

    def __init__(self, connection: Connection, number: i64, vhost: VHost) -> None:
        self.connection: Connection = connection
        self.number: i64 = number
        self.vhost: VHost = vhost
        self.broker = connection.environment.broker
        self.journal = vhost.shard.journal
        self.outbox = connection.outbox
        self.closing: bool = False
        self.closed: bool = False
        self.flowing: bool = True
        self.last_queue: str = ""
        self.consumers: dict[str, Consumer] = {}
        self.prefetch: Prefetch = Prefetch()
        self.unacked: Unacked = Unacked()
        self.ack_timeouts: AckTimeouts | None = None
        self.delivery_tag: i64 = 0
        self.confirms: Confirms = Confirms()
        self.commits: Commits = Commits(self)
        self.confirms_due: bool = False
        self.transaction: Transaction | None = None
        self.committing: bool = False  # tx.commit-ok waits for its batch
        # Replies of the methods handled, and the batch they wait for: a client that hears declare-ok may rely on
        # what it declared. 0 is none.
        self.replies: list[bytes] = []
        self.reply_batch: i64 = 0
        self.reply_queue: Queue | None = None
        self.max_message_size: i64 = connection.environment.max_message_size
        # Content on its way in.
        self.expects: i64 = _METHOD
        self.routes: dict[bytes, Route] = {}
        self.routes_revision: i64 = -1
        self.revision = self.broker.revision
        self.last_arguments: bytes = b""  # of the publish that ``route`` belongs to
        self.route: Route | None = None
        self.header: ContentHeader | None = None
        self.partial: BytesWriter | None = None  # the body so far, where one frame does not hold it
        self.body_left: i64 = 0

    # Publishing

    def publish_method(self, buffer: bytes, start: i64, end: i64) -> None:
        """basic.publish; ``start`` is behind the method id."""
        if self.expects != _METHOD:
            raise self._unexpected_frame()
        arguments = buffer[start:end]
        if self.routes_revision != self.revision.value:
            self.routes.clear()
            self.last_arguments = b""
            self.routes_revision = self.revision.value
        # No arguments at all are refused in there; here they would look like those of the last publish.
        if start == end or arguments != self.last_arguments:
            route = self.routes.get(arguments)
            if route is None:
                route = self._find_route(arguments)
            self.route = route
            self.last_arguments = arguments
        self.expects = _HEADER

    def _find_route(self, arguments: bytes) -> Route:
        exchange_name, routing_key, bits, wire = publish_fields(arguments)
        if bits & IMMEDIATE:
            raise NotImplementedByBroker("immediate=true", BASIC_PUBLISH)
        self.check_permission(WRITE, "exchange", exchange_name, BASIC_PUBLISH)
        exchange = self.vhost.exchanges.get(exchange_name)
        if exchange is None:
            raise NotFound(f"no exchange '{exchange_name}' in vhost '{self.vhost.name}'", BASIC_PUBLISH)
        if exchange.internal:
            raise AccessRefused(
                f"cannot publish to internal exchange '{exchange_name}' in vhost '{self.vhost.name}'",
                BASIC_PUBLISH,
            )
        self.check_topic(exchange, routing_key, WRITE, BASIC_PUBLISH)
        route = Route(Address(exchange_name, routing_key, wire), exchange, (bits & MANDATORY) != 0, self)
        route.queues = self.broker.router.route(self.vhost, route, [routing_key], _NO_HEADER)
        if route.cacheable:
            if len(self.routes) >= ROUTES_MAX:
                self.routes.clear()
            self.routes[arguments] = route
        return route

    def _route_again(self) -> None:
        """Topology changed between basic.publish and the end of its content: what stands now counts."""
        arguments = self.last_arguments
        self.routes.clear()
        self.last_arguments = b""
        self.routes_revision = self.revision.value
        self.route = self._find_route(arguments)
        self.last_arguments = arguments

    def content_header(self, buffer: bytes, start: i64, end: i64) -> None:
        """A content header frame."""
        if self.expects != _HEADER:
            raise self._unexpected_frame()
        payload = buffer[start:end]
        header = self.header
        if header is None or header.payload != payload:
            if end - start < 14:
                raise FrameError(f"type 2, {snippet(payload)}: unknown_frame", 0)
            class_id = payload[0] * 256 + payload[1]
            if class_id != CLASS_BASIC:
                raise UnexpectedFrame(
                    f"expected content header for class 60, got one for class {class_id} instead",
                    BASIC_PUBLISH,
                )
            header = ContentHeader(payload)
            self.header = header
        size = header.body_size
        if size < 0 or size > self.max_message_size:
            self.expects = _METHOD
            if size < 0 or size > CONTENT_MAX:
                shown = int(size) & 0xFFFFFFFFFFFFFFFF
                raise FrameError(f"content body size {shown} exceeds maximum allowed size {CONTENT_MAX}")
            raise PreconditionFailed(
                f"message size {int(size) & 0xFFFFFFFFFFFFFFFF} is larger than configured max size "
                f"{self.max_message_size}",
                BASIC_PUBLISH,
            )
        if self.broker.alarm:
            self.connection.publishes_under_alarm()
        if size == 0:
            self._complete(b"")
        else:
            self.body_left = size
            self.expects = _BODY

    def content_body(self, buffer: bytes, start: i64, end: i64) -> None:
        """A content body frame; an empty one in the middle is no error."""
        if self.expects != _BODY:
            raise self._unexpected_frame()
        left = self.body_left - (end - start)
        if left < 0:
            raise FrameError("content body frame exceeds remaining content size", BASIC_PUBLISH)
        piece = buffer[start:end]
        self.body_left = left
        partial = self.partial
        if left == 0 and partial is None:
            self._complete(piece)
            return
        if partial is None:
            partial = self.partial = BytesWriter()
        partial.write(piece)
        if left == 0:
            self.partial = None
            self._complete(partial.getvalue())

    def _unexpected_frame(self) -> UnexpectedFrame:
        """What came is not what this channel awaits."""
        if self.expects == _METHOD:
            return UnexpectedFrame("expected method frame, got non method frame instead", 0)
        if self.expects == _HEADER:
            return UnexpectedFrame(
                "expected content header for class 60, got non content header frame instead", BASIC_PUBLISH
            )
        return UnexpectedFrame("expected content body, got non content body frame instead", BASIC_PUBLISH)

    def _complete(self, body: bytes) -> None:
        """The content is whole: route it."""
        self.expects = _METHOD
        self.connection.wrote = True
        if self.routes_revision != self.revision.value:
            self._route_again()
        route = self.route
        header = self.header
        assert route is not None
        assert header is not None
        queues = route.queues
        if header.checked:
            keys = self._check_properties(route, header)
            stripped = self.broker.router.stripped(self._reply_to_rewritten(header))
            if keys or not route.cacheable:
                keys.insert(0, route.address.routing_key)
                queues = self.broker.router.route(self.vhost, route, keys, header)
            header = stripped
        elif not route.cacheable:
            queues = self.broker.router.route(self.vhost, route, [route.address.routing_key], header)
        message = Message(route.address, header, body)
        if self.vhost.tracing:
            self._trace(message, queues)
        if self.transaction is not None:
            self.transaction.publish(message, queues, route.mandatory)
        else:
            self.publish(message, queues, route.mandatory)

    def _trace(self, message: Message, queues: list[Queue]) -> None:
        header = self.header
        assert header is not None
        published(self, message, header, queues)

    def publish(self, message: Message, queues: list[Queue], mandatory: bool) -> bool:
        """Hand a message to its queues; return it when there are none and it is mandatory.

        False when a queue refused it.
        """
        accepted = True
        for queue in queues:
            if not queue.publish(message):
                accepted = False
        if mandatory and leads_nowhere(queues):
            self._return(message)
        if self.confirms.enabled:
            self._await_confirm(message, not accepted)
        return accepted

    def _await_confirm(self, message: Message, refused: bool) -> None:
        confirms = self.confirms
        if message.holders:
            number = self.journal.number
            confirms.add(number, refused)
            if self.commits.batch != number:
                self.commits.batch = number
                self.journal.waiting.append(self.commits)
        else:
            confirms.add(0, refused)
            if not self.confirms_due:
                self.confirms_due = True
                self.connection.confirms_due.append(self)

    def release_confirms(self) -> None:
        """End of an input: what needs no commit is confirmed now."""
        self.confirms_due = False
        if not self.closing and not self.closed:
            self.confirms.release(self.journal.committed, self.outbox, self.number)

    def batch_committed(self, number: i64) -> None:
        if self.closing or self.closed:
            return
        if self.confirms.enabled:
            self.confirms.release(number, self.outbox, self.number)
        if self.reply_batch and self.reply_batch <= number:
            self.reply_batch = 0
            self.committing = False
            self._flush_replies()
            self.resume_consumers()

    def _return(self, message: Message) -> None:
        """basic.return: before the confirm of the same publish, which is positive all the same."""
        address = message.address
        writer = MethodWriter(BASIC_RETURN).short(NO_ROUTE).shortstr(REPLY_NAMES[NO_ROUTE])
        writer.shortstr(address.exchange).shortstr(address.routing_key)
        self.outbox.write(writer.frame(int(self.number)))
        self.outbox.content(self.number, message.header.payload, message.body)

    def place(self) -> tuple[int, int]:
        return (int(self.connection.number), int(self.number))

    def give_back(self, message: Message) -> bool:
        if self.closed or self.closing:
            return False
        self._return(message)
        return True

    def _check_properties(self, route: Route, header: ContentHeader) -> list[str]:
        """What the properties ask for, in RabbitMQ's order; returns the further routing keys of CC and BCC.

        Raises PreconditionFailed (406) and AccessRefused (403), which close the channel.
        """
        if header.reply_to == REPLY_TO_OCTETS and self.reply_queue is None:
            raise PreconditionFailed("fast reply consumer does not exist", BASIC_PUBLISH)
        if header.expiration is not None:
            check_expiration(header.expiration)
        keys: list[str] = []
        if header.headers is not None:
            keys = self.broker.router.extra_keys(header)
            for key in keys:
                self.check_topic(route.exchange, key, WRITE, BASIC_PUBLISH)
        if header.user_id is not None:
            self.connection.check_user_id(header.user_id)
        return keys

    def _reply_to_rewritten(self, header: ContentHeader) -> ContentHeader:
        """Direct reply-to: the pseudo-queue's name becomes the name of this channel's reply queue."""
        if header.reply_to == REPLY_TO_OCTETS and self.reply_queue is not None:
            return with_reply_to(header, self.reply_queue.name.encode())
        return header

    # Delivering

    def can_take(self, consumer: Consumer) -> bool:
        if not self.flowing or self.closing or self.closed or self.reply_batch:
            return False
        if not consumer.no_ack and not self.prefetch.allows(consumer):
            return False
        if self.outbox.full():
            self.connection.starved = True
            return False
        return True

    def deliver(self, consumer: Consumer, entry: Entry) -> None:
        tag = self.delivery_tag + 1
        self.delivery_tag = tag
        if not consumer.no_ack:
            entry.delivery_tag = tag
            entry.consumer = consumer
            consumer.unacked += 1
            self.prefetch.in_flight += 1
            self.unacked.add(entry)
        message = entry.message
        redelivered = entry.redelivered
        if self.vhost.tracing:
            payload = counted(entry) if redelivered and entry.acquired else message.header.payload
            delivered(self, consumer.queue, message, payload, redelivered)
        self.outbox.deliver(
            self.number,
            consumer.tag_wire,
            tag,
            redelivered,
            message.address.wire,
            counted(entry) if redelivered and entry.acquired else message.header.payload,
            message.body,
        )

    def consumer_cancelled(self, consumer: Consumer) -> None:
        if self.closed or self.consumers.get(consumer.tag) is not consumer:
            return
        del self.consumers[consumer.tag]
        if self.connection.hears_cancel and not self.closing:
            # Behind the delete-ok, where this channel deleted the queue itself.
            self.send(MethodWriter(BASIC_CANCEL).shortstr(consumer.tag).octet(1))
            if not self.reply_batch:
                self._flush_replies()

    def settings_changed(self, consumer: Consumer) -> None:
        if not consumer.no_ack:
            expect_acknowledgement(self, consumer.queue, consumer)

    def resume_consumers(self) -> None:
        """Something that held consumers back is gone: flow, outbox or the channel's prefetch."""
        for consumer in self.consumers.values():
            if consumer.waiting:
                consumer.queue.resume(consumer)

    # Settling

    def settlement(self, method: i64, buffer: bytes, at: i64, end: i64) -> None:
        """basic.ack, basic.nack, basic.reject; ``at`` is behind the method id."""
        if self.expects != _METHOD:
            raise self._unexpected_frame()
        tag = settlement_tag(method, buffer, at, end)
        bits = i64(buffer[at + 8])
        if method == BASIC_ACK:
            self._settle(tag, (bits & 1) != 0, True, 0, BASIC_ACK)
        elif method == BASIC_NACK:
            self._settle(tag, (bits & 1) != 0, False, NACKED if bits & 2 else 0, BASIC_NACK)
        else:
            self._settle(tag, False, False, REJECTED if bits & 1 else 0, BASIC_REJECT)

    def _settle(self, tag: i64, multiple: bool, acked: bool, requeue: i64, method: int) -> None:
        if multiple:
            entries = self.unacked.take_up_to(tag)
            if entries is None:
                self._forgive(tag, method)
                entries = self.unacked.take_through(tag)
        else:
            entry = self.unacked.take(tag)
            if entry is None:
                self._forgive(tag, method)
                return
            if acked and self.transaction is None:
                entry.queue.settle(entry)
                self._credit(entry)
                return
            entries = [entry]
        if self.transaction is not None:
            self.transaction.settle(entries, acked, requeue)
        else:
            self.settle_entries(entries, acked, requeue)

    def _forgive(self, tag: i64, method: int) -> None:
        """Raises PreconditionFailed (406) unless ``tag`` timed out before it was settled."""
        if self.ack_timeouts is None or not self.ack_timeouts.forgives(int(tag)):
            raise _unknown_tag(tag, method)

    def settle_entries(self, entries: list[Entry], acked: bool, requeue: i64) -> None:
        """Entries taken from ``unacked``: done with, refused, or back to their queues.

        ``requeue``: why they go back (NACKED ...); 0 where they do not.
        """
        for entry in entries:
            self._credit(entry)
            if acked:
                entry.queue.settle(entry)
            elif requeue:
                entry.queue.requeue(entry, requeue)
            else:
                entry.queue.reject(entry)

    def _credit(self, entry: Entry) -> None:
        """One less in flight: whoever waited for that may go on."""
        consumer = entry.consumer
        if consumer is None:
            return
        consumer.unacked -= 1
        self.prefetch.in_flight -= 1
        entry.consumer = None
        if self.prefetch.resumes_all():
            self.resume_consumers()
        if consumer.waiting:
            consumer.queue.resume(consumer)

    def requeue_all(self, cause: i64) -> None:
        """Everything in flight goes back to its queue."""
        entries = self.unacked.take_up_to(0)
        if entries:
            self.settle_entries(entries, False, cause)

    # The rest

    def method(self, method: i64, buffer: bytes, start: i64, end: i64) -> bool:
        """Any other method; False when it is none a client may send."""
        handler = self.connection.environment.handlers.get(int(method))
        if handler is None:
            return False
        if self.expects != _METHOD:
            raise self._unexpected_frame()
        self.handle(handler, ArgumentReader(int(method), buffer[start:end]))
        return True

    def handle(self, handler: Handler, arguments: ArgumentReader) -> None:
        """Let ``handler`` do its work. Where it changed something durable, its reply waits for the disk."""
        journal = self.journal
        before = len(journal.definitions)
        handler(self, arguments)
        if len(journal.definitions) != before:
            self.connection.wrote = True
            self.await_commit()
        elif not self.reply_batch:
            self._flush_replies()

    def await_definition(self, existing: Destination) -> None:
        """Somebody else declared ``existing``; where that is not on disk yet, this reply waits for it too."""
        if existing.defined_batch > self.journal.committed:
            self.await_commit()

    def await_commit(self) -> None:
        """Hold all replies of this channel, and its deliveries, until the open batch is on disk."""
        self.reply_batch = self.journal.number
        if self.commits.batch != self.reply_batch:
            self.commits.batch = self.reply_batch
            self.journal.waiting.append(self.commits)

    def send(self, writer: MethodWriter) -> None:
        """Reply to the method being handled."""
        self.replies.append(writer.frame(int(self.number)))

    def send_content(self, writer: MethodWriter, header: bytes, body: bytes) -> None:
        """Reply with a method and a message; not while replies wait for the disk."""
        self.send(writer)
        self._flush_replies()
        self.outbox.content(self.number, header, body)

    def _flush_replies(self) -> None:
        if self.replies:
            for frame in self.replies:
                self.outbox.write(frame)
            self.replies = []

    def check_permission(self, kind: int, what: str, name: str, method: int) -> None:
        """Raises AccessRefused (403) unless the user may configure, write or read ``name``."""
        connection = self.connection
        asked = name if name or what != "exchange" else "amq.default"
        if not connection.environment.backend.may(connection.user.name, self.vhost.name, asked, kind):
            raise AccessRefused(
                f"access to {what} '{asked}' in vhost '{self.vhost.name}' refused for user '{connection.user.name}'",
                method,
            )

    def check_topic(self, exchange: Exchange, key: str, kind: int, method: int) -> None:
        """Raises AccessRefused (403) unless topic permissions allow ``key``; only topic exchanges have them."""
        if exchange.kind != "topic":
            return
        user = self.connection.user.name
        if not self.connection.environment.backend.may_topic(user, self.vhost.name, exchange.name, key, kind):
            raise AccessRefused(
                f"access to topic '{key}' in exchange '{exchange.name}' in vhost '{self.vhost.name}' "
                f"refused for user '{user}'",
                method,
            )

    def end_replies(self) -> None:
        """The reply consumer goes, with what it did not take; no remembered route may lead to its queue."""
        queue = self.reply_queue
        if queue is not None:
            self.reply_queue = None
            self.vhost.reply_queues.pop(queue.name, None)
            queue.dispose()
            self.revision.value += 1

    def terminate(self) -> None:
        """The channel ends: consumers go, what is in flight goes back, an open transaction is forgotten."""
        if self.closed:
            return
        self.closed = True
        events = self.broker.events
        actor = events.act_as(INTERNAL)
        if self.committing:
            self.replies = []  # tx.commit-ok must not be said before it is true
        self._flush_replies()
        consumers = list(self.consumers.values())
        self.consumers.clear()
        for consumer in consumers:
            if not consumer.queue.deleted:
                consumer.cancelled = True
        if self.ack_timeouts is not None:
            self.ack_timeouts.stop()
        if self.transaction is not None:
            self.transaction.rollback()
        self.requeue_all(LOST)
        for consumer in consumers:
            self.vhost.lost_consumer(consumer)
        self.end_replies()
        self.partial = None
        self.routes.clear()
        events.actor = actor
        if events.listening:
            channel_closed(self)


def _unknown_tag(tag: i64, method: int) -> PreconditionFailed:
    return PreconditionFailed(f"unknown delivery tag {int(tag) & 0xFFFFFFFFFFFFFFFF}", method)


_NO_HEADER: Final = header_from_properties(b"\x00\x00", 0)


def check_expiration(octets: bytes) -> None:
    """Raises PreconditionFailed (406) unless it is a decimal number of milliseconds, with Erlang's words."""
    text = octets.decode("utf-8", "replace")
    digits = text[1:] if text[:1] in ("+", "-") else text
    count = 0
    while count < len(digits) and digits[count] in "0123456789":
        count += 1
    fault = ""
    if count == 0:
        fault = "no_integer"
    elif count < len(digits):
        fault = f'{{leftover_string,"{digits[count:]}"}}'
    elif int(text) < 0:
        fault = f"{{value_negative,{int(text)}}}"
    elif int(text) > 315360000000:
        fault = f"{{value_too_large,{int(text)}}}"
    if fault:
        raise PreconditionFailed(f"invalid expiration '{text}': {fault}", BASIC_PUBLISH)

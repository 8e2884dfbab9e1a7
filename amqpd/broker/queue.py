"""What the broker knows of a queue, a consumer and a channel: the seams between routing, queues and sessions. Hot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64, mypyc_attr

from amqpd.broker.message import Entry, Message
from amqpd.wire.table import Table

if TYPE_CHECKING:
    from amqpd.broker.batch import Chunk, QueueSummary, StoredEntry
    from amqpd.broker.shard import PageRequest, Shard


# Why an entry in flight comes back to its queue.
NACKED: Final = 1  # basic.nack with requeue
REJECTED: Final = 2  # basic.reject with requeue
LOST: Final = 3  # its channel or connection ended
RECOVERED: Final = 4  # basic.recover
TIMED_OUT: Final = 5  # it was not acknowledged in time

NO_NUMBER: Final = -1  # a setting that is not there


@mypyc_attr(allow_interpreted_subclasses=True)
class Destination:
    """An end of a binding: a queue or an exchange.

    ``defined_batch``: the batch that makes a durable one durable; 0 for those read back and for transient ones.
    ``aside``: it looks at what passes and is nobody's destination: a message that goes nowhere else is unroutable.
    """

    def __init__(self, vhost: str, name: str, durable: bool) -> None:
        self.vhost: str = vhost
        self.name: str = name
        self.durable: bool = durable
        self.defined_batch: i64 = 0
        self.aside: bool = False


@mypyc_attr(allow_interpreted_subclasses=True)
class ChannelPort:
    """What a queue knows of a channel. A leaf: it appends to the outbox and returns."""

    def can_take(self, consumer: Consumer) -> bool:
        """Whether a message may be delivered to ``consumer`` now: credit, channel flow, outbox below its mark."""
        raise NotImplementedError

    def deliver(self, consumer: Consumer, entry: Entry) -> None:
        """Send it. The queue has already counted it as in flight, or settled it where ``consumer.no_ack``."""
        raise NotImplementedError

    def consumer_cancelled(self, consumer: Consumer) -> None:
        """The queue is gone: forget the consumer and tell the client if it can hear it (basic.cancel)."""
        raise NotImplementedError

    def settings_changed(self, consumer: Consumer) -> None:
        """The settings of the consumer's queue changed."""

    def place(self) -> tuple[int, int]:
        """The numbers of its connection and of itself; the first is unique while the broker runs. 0 and 0 for none."""
        return (0, 0)

    def give_back(self, message: Message) -> bool:
        """A mandatory message found no queue after all (basic.return); False when the publisher cannot hear it."""
        return False


@final
class Consumer:
    """A subscription of a channel to a queue.

    ``priority``: its x-priority, 0 without one; any integer.
    ``tag_wire``: the tag as a shortstr. ``prefetch``: 0 means no limit. ``unacked``: its messages in flight.
    ``waiting``: taken out of the queue's ring because it could not take a message; ``Queue.resume`` puts it back.
    """

    def __init__(
        self,
        tag: str,
        channel: ChannelPort,
        queue: Queue,
        no_ack: bool,
        exclusive: bool,
        prefetch: i64,
        arguments: Table,
    ) -> None:
        octets = tag.encode()
        self.tag: str = tag
        self.tag_wire: bytes = bytes([len(octets)]) + octets
        self.channel: ChannelPort = channel
        self.queue: Queue = queue
        self.no_ack: bool = no_ack
        self.exclusive: bool = exclusive
        self.prefetch: i64 = prefetch
        self.arguments: Table = arguments
        self.priority: i64 = priority_of(arguments)
        self.unacked: i64 = 0
        self.waiting: bool = False
        self.cancelled: bool = False


def priority_of(arguments: Table) -> i64:
    field = arguments.get("x-priority")
    return field.value if field is not None and isinstance(field.value, int) else 0


@final
class Lane:
    """One ordered list of a queue, as the journal and the store know it.

    ``id``: its key in the store. A queue has one lane with its own id, or one for each priority: then the ids are
    a block that begins with the queue's, and the level is what is added to it.
    ``stored_*``: what the store holds of it durably, for the summary a start reads.
    ``last_delivered``: the highest position that may have been delivered.
    ``named``: the store finds its entries by the message-id, where they have deadlines.
    """

    def __init__(self, queue: Queue, level: i64) -> None:
        self.queue: Queue = queue
        self.level: i64 = level
        self.id: i64 = queue.id + level
        self.stored_messages: i64 = 0
        self.stored_bytes: i64 = 0
        self.depth_batch: i64 = 0
        self.last_delivered: i64 = 0
        self.named: bool = False


@mypyc_attr(allow_interpreted_subclasses=True)
class Queue(Destination):
    """A queue of any type. ``id`` is its key in the store; ``levels`` ids from there on are its lanes'.

    ``owner``: the connection an exclusive queue belongs to, else None.
    ``dirty``: it waits to be pumped at the end of the turn.
    ``kind``: its type, as x-queue-type names it.
    ``arguments``: what it was declared with. ``settings``: what is in force, by policy key (an argument's name
    without its ``x-``), merged from arguments, defaults, policy and operator policy.
    ``policy`` and ``operator_policy``: names of those applied, empty for none.
    """

    def __init__(
        self,
        shard: Shard,
        vhost: str,
        name: str,
        durable: bool,
        auto_delete: bool,
        owner: object,
        arguments: Table,
    ) -> None:
        super().__init__(vhost, name, durable)
        self.shard: Shard = shard
        self.id: i64 = 0
        self.levels: i64 = 1
        self.kind: str = "classic"
        self.auto_delete: bool = auto_delete
        self.owner: object = owner
        self.arguments: Table = arguments
        self.settings: dict[str, int | str] = {}
        self.policy: str = ""
        self.operator_policy: str = ""
        self.deleted: bool = False
        self.dirty: bool = False

    def number(self, setting: str) -> int:
        """A setting that is a number; NO_NUMBER where it is not set."""
        value = self.settings.get(setting)
        return value if isinstance(value, int) else NO_NUMBER

    def text(self, setting: str) -> str | None:
        """A setting that is a text; None where it is not set."""
        value = self.settings.get(setting)
        return value if isinstance(value, str) else None

    def identify(self, first: i64) -> None:
        """Its id in the store, and the first of its lanes' ids. Once, before anything enters."""
        self.id = first

    def reconfigure(self, features: Sequence[Callable[[Queue], None]]) -> None:
        """``settings`` were set or have changed: each of ``features`` may attach itself anew."""

    def routed_with(self, queues: dict[Queue, bool]) -> None:
        """A message goes to ``queues``, this one among them; told where an exchange on its way asked for it.

        A queue that hands messages on must leave those out: an entry is known by message and queue, so none may be
        given the same message twice.
        """

    def publish(self, message: Message) -> bool:
        """Take a message; False when the queue refuses it, which a confirming publisher hears as basic.nack."""
        raise NotImplementedError

    def pump(self) -> None:
        """Deliver what can be delivered; called once a turn for a dirty queue."""
        raise NotImplementedError

    def settle(self, entry: Entry) -> None:
        """An entry in flight was acknowledged."""
        raise NotImplementedError

    def reject(self, entry: Entry) -> None:
        """An entry in flight was refused for good (requeue=false)."""
        raise NotImplementedError

    def requeue(self, entry: Entry, cause: i64) -> None:
        """An entry in flight comes back; it keeps its place and is redelivered.

        ``cause``: NACKED, REJECTED, LOST, RECOVERED or TIMED_OUT.
        """
        raise NotImplementedError

    def get(self) -> Entry | None:
        """The next ready entry, now in flight; None when there is none (basic.get)."""
        raise NotImplementedError

    def redeclared(self) -> None:
        """Somebody declared it again, equivalently."""

    def check_consume(self, arguments: Table, no_ack: bool, prefetch: int, per_channel: int) -> None:
        """Somebody wants to consume. Raises what the client is to hear where this queue cannot serve such a consumer.

        ``prefetch``: its own limit, ``per_channel``: that of its channel; 0 is none.
        """

    def consume(self, consumer: Consumer) -> None:
        """Add a consumer."""
        raise NotImplementedError

    def cancel(self, consumer: Consumer) -> bool:
        """Remove a consumer; True when an auto-delete queue lost its last one and must be deleted."""
        raise NotImplementedError

    def resume(self, consumer: Consumer) -> None:
        """A waiting consumer can take messages again."""
        raise NotImplementedError

    def consumers(self) -> list[Consumer]:
        raise NotImplementedError

    def message_count(self) -> int:
        """Ready messages."""
        raise NotImplementedError

    def unacked_count(self) -> int:
        """Messages in flight."""
        raise NotImplementedError

    def apart(self) -> i64:
        """Messages that are not ready now and would be after a restart, each in its old place."""
        return self.unacked_count()

    def purge(self) -> int:
        """Drop all ready messages; returns how many."""
        raise NotImplementedError

    def dispose(self) -> None:
        """The queue was deleted: let go of everything in memory.

        A durable queue's definition tells the store; another one tells it here of what was paged out.
        """
        raise NotImplementedError

    def chunk_sealed(self, chunk: Chunk) -> Chunk:
        """The batch that holds the chunk it began goes to the store; returns the chunk as it is now."""
        return chunk

    def batch_committed(self, number: i64) -> None:
        """What this queue handed to the journal is on disk up to batch ``number``; called where it asked for it."""

    def page_loaded(self, request: PageRequest, entries: list[StoredEntry]) -> None:
        """The page it asked for was read."""

    def loading(self) -> bool:
        """Ready messages exist but none is in memory yet: a basic.get has to wait for ``page_loaded``."""
        return False

    def restore(self, level: int, row: QueueSummary, redelivered: int) -> None:
        """What the store holds at start for the lane of ``level``.

        ``redelivered``: entries up to this position may have been delivered before.
        """

    def lanes(self) -> list[Lane]:
        """Those in use. At a clean shutdown it is written how far deliveries went in each."""
        return []

    def mark_dirty(self) -> None:
        if not self.dirty:
            self.dirty = True
            self.shard.dirty.append(self)

"""A message, and its place in one queue. Hot: two small objects a message, everything else is shared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i32, i64, mypyc_attr

from amqpd.wire.content import ContentHeader

if TYPE_CHECKING:
    from amqpd.broker.queue import Consumer, Lane, Queue

NOT_STORED: Final = 0
ANNIHILATED: Final = -1


@final
@mypyc_attr(acyclic=True)
class Address:
    """Exchange and routing key of a publish: as text, and as the two shortstrs that basic.deliver repeats."""

    def __init__(self, exchange: str, routing_key: str, wire: bytes) -> None:
        self.exchange: str = exchange
        self.routing_key: str = routing_key
        self.wire: bytes = wire


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class Message:
    """What a publisher sent. Shared by all queues it was routed to.

    ``id``: 0 until it enters a queue; then its key in the store and its position in every queue.
    ``holders``: stored entries not yet settled, counted while the batch that inserts them is open.
    ``copies``: stored entries it was inserted with; above 1 the store looks for other holders before it
    deletes the body.
    """

    def __init__(self, address: Address, header: ContentHeader, body: bytes) -> None:
        self.id: i64 = 0
        self.address: Address = address
        self.header: ContentHeader = header
        self.body: bytes = body
        self.holders: i64 = 0
        self.copies: i64 = 0


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class Entry:
    """A message's place in one queue, ready or in flight.

    ``lane``: the list of its queue it belongs to; ``position``: order in that list. A requeued entry keeps both.
    ``batch``: number of the batch that inserts it; NOT_STORED, or ANNIHILATED when it was settled first.
    ``sequence``: consecutive for entries that lie side by side in the queue, so that their deletes can be
    one range; 0 says nothing.
    ``paged``: a transient message that was put on disk to save memory: gone after a restart.
    ``deadline``: when it expires, in milliseconds since 1970; 0 is never. ``early``: it expires before something
    ahead of it, so that the front of the list does not tell when. ``watched``: its list has it in a heap for that.
    ``gone``: taken out of the middle of a list that still has a slot for it.
    ``deliveries``: how often it came back from a consumer that failed; ``acquired``: how often it was handed out and
    came back. Counted by queues that ask for it.
    ``consumer`` and ``delivery_tag`` are set while it is in flight; a basic.get has no consumer.

    Not tracked by the garbage collector (a backlog would make every collection slow): a queue that is
    deleted lets go of its entries itself.
    """

    def __init__(self, message: Message, lane: Lane) -> None:
        self.message: Message = message
        self.lane: Lane = lane
        self.queue: Queue = lane.queue
        self.position: i64 = 0
        self.batch: i64 = 0
        self.sequence: i64 = 0
        self.redelivered: bool = False
        self.paged: bool = False
        self.consumer: Consumer | None = None
        self.delivery_tag: i64 = 0
        self.deadline: i64 = 0
        self.early: bool = False
        self.watched: bool = False
        self.gone: bool = False
        self.deliveries: i32 = 0
        self.acquired: i32 = 0

    def size(self) -> i64:
        """Octets of body."""
        return self.message.header.body_size

    def __lt__(self, other: Entry) -> bool:
        """For heaps by position: the slot of one that is gone comes before the same one that was put back."""
        return self.gone and not other.gone

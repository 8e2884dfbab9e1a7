"""The queue types that are built in: which parts a queue is put together from.

``quorum`` is a classic queue with the rules of RabbitMQ's quorum queues: on one node a durable queue makes the same
promises. Everything it is given is stored, its consumers come back counted (amqpd/features/delivery_limit.py), and it
has 32 priorities without asking for them.
"""

from __future__ import annotations

from typing import Final

from amqpd.broker.queue import Queue
from amqpd.broker.shard import Shard
from amqpd.queues.classic import ClassicQueue
from amqpd.queues.priority import PriorityReady
from amqpd.queues.single_active import SingleActive
from amqpd.spec.arguments import QUORUM
from amqpd.wire.table import Table

# RabbitMQ 4.3: higher priorities count as 31, a message without one has 4.
QUORUM_LEVELS: Final = 32
QUORUM_DEFAULT: Final = 4


def classic_queue(
    shard: Shard, vhost: str, name: str, durable: bool, auto_delete: bool, owner: object, arguments: Table
) -> Queue:
    """x-max-priority N makes levels 0 to N."""
    queue = ClassicQueue(shard, vhost, name, durable, auto_delete, owner, arguments)
    highest = _integer(arguments, "x-max-priority")
    if highest > 0:
        queue.levels = highest + 1
        queue.ready = PriorityReady(shard, queue, highest + 1)
    if _is_true(arguments, "x-single-active-consumer"):
        queue.ring = SingleActive(takes_over=False)
    return queue


def quorum_queue(
    shard: Shard, vhost: str, name: str, durable: bool, auto_delete: bool, owner: object, arguments: Table
) -> Queue:
    queue = ClassicQueue(shard, vhost, name, durable, auto_delete, owner, arguments)
    queue.kind = QUORUM
    queue.stores_all = True
    queue.levels = QUORUM_LEVELS
    queue.ready = PriorityReady(shard, queue, QUORUM_LEVELS, QUORUM_DEFAULT)
    if _is_true(arguments, "x-single-active-consumer"):
        queue.ring = SingleActive(takes_over=True)
    return queue


def has_single_active(queue: Queue) -> bool:
    """Whether it serves one consumer at a time."""
    return isinstance(queue, ClassicQueue) and isinstance(queue.ring, SingleActive)


def _integer(arguments: Table, name: str) -> int:
    """0 where it is not there."""
    field = arguments.get(name)
    return field.value if field is not None and isinstance(field.value, int) else 0


def _is_true(arguments: Table, name: str) -> bool:
    field = arguments.get(name)
    return field is not None and field.value is True

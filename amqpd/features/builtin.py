"""What every broker has: registered the same way a plugin registers."""

from __future__ import annotations

from amqpd.broker.broker import Broker
from amqpd.broker.registry import Registry
from amqpd.broker.shard import PageSource
from amqpd.exchanges.direct import DirectExchange
from amqpd.exchanges.fanout import FanoutExchange
from amqpd.exchanges.headers import HeadersExchange
from amqpd.exchanges.topic import TopicExchange
from amqpd.features import delayed_retry, delivery_limit, max_length, message_ttl, queue_ttl
from amqpd.features.alternate_exchange import AlternateExchange
from amqpd.features.dead_letters import DeadLetters
from amqpd.features.death_header import ClientDeaths
from amqpd.features.sender_selected import SenderSelected
from amqpd.queues.stream.queue import StreamQueue
from amqpd.queues.types import classic_queue, quorum_queue
from amqpd.spec.arguments import CLASSIC, QUORUM, STREAM


def register(registry: Registry) -> None:
    registry.exchange_type("direct", DirectExchange)
    registry.exchange_type("fanout", FanoutExchange)
    registry.exchange_type("topic", TopicExchange)
    registry.exchange_type("headers", HeadersExchange)
    registry.queue_type(CLASSIC, classic_queue)
    registry.queue_type(QUORUM, quorum_queue)
    registry.queue_type(STREAM, StreamQueue)
    registry.started(_read_streams)
    registry.queue_feature(message_ttl.attach)
    registry.queue_feature(queue_ttl.attach)
    registry.queue_feature(max_length.attach)
    registry.queue_feature(delivery_limit.attach)
    registry.queue_feature(delayed_retry.attach)
    registry.route_extension(SenderSelected())
    registry.route_extension(AlternateExchange())
    registry.route_extension(ClientDeaths())
    registry.dead_letters(DeadLetters())


def _read_streams(broker: Broker, source: PageSource) -> None:
    """Where each stream begins and ends is in the store."""
    for vhost in broker.vhosts.values():
        for queue in vhost.queues.values():
            if isinstance(queue, StreamQueue):
                queue.read_back(source)

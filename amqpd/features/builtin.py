"""What every broker has: registered the same way a plugin registers."""

from __future__ import annotations

from amqpd.broker.registry import Registry
from amqpd.exchanges.direct import DirectExchange
from amqpd.exchanges.fanout import FanoutExchange
from amqpd.exchanges.headers import HeadersExchange
from amqpd.exchanges.topic import TopicExchange
from amqpd.features import max_length
from amqpd.features.alternate_exchange import AlternateExchange
from amqpd.features.sender_selected import SenderSelected
from amqpd.queues.classic import ClassicQueue


def register(registry: Registry) -> None:
    registry.exchange_type("direct", DirectExchange)
    registry.exchange_type("fanout", FanoutExchange)
    registry.exchange_type("topic", TopicExchange)
    registry.exchange_type("headers", HeadersExchange)
    registry.queue_type("classic", ClassicQueue)
    registry.queue_feature(max_length.attach)
    registry.route_extension(SenderSelected())
    registry.route_extension(AlternateExchange())

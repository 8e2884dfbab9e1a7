"""An alternate exchange takes what an exchange cannot route; what it cannot route either comes back."""

from typing import Any

import pika

from interop.blocking import connect, drain, refusal, scratch
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json

ORDERS, UNROUTED, LEADS_NOWHERE, TO_MISSING = (
    "interop.orders",
    "interop.unrouted",
    "interop.leads_nowhere",
    "interop.to_missing",
)


def run(broker: Broker) -> Json:
    exchanges = [ORDERS, UNROUTED, LEADS_NOWHERE, TO_MISSING]
    with scratch(broker.url, exchanges=exchanges), connect(broker.url) as connection:
        channel = connection.channel()
        channel.exchange_declare(UNROUTED, "fanout")
        channel.exchange_declare(ORDERS, "direct", arguments={"alternate-exchange": UNROUTED})
        channel.exchange_declare(LEADS_NOWHERE, "direct", arguments={"alternate-exchange": "amq.direct"})
        channel.exchange_declare(TO_MISSING, "direct", arguments={"alternate-exchange": "interop.no_such"})
        routed, caught = (channel.queue_declare("", exclusive=True).method.queue for _ in range(2))
        channel.queue_bind(routed, ORDERS, "known")
        channel.queue_bind(caught, UNROUTED)
        channel.confirm_delivery()
        returned: dict[str, Json] = {}
        for exchange in (ORDERS, LEADS_NOWHERE, TO_MISSING):
            for key in ("known", "unknown"):
                returned[f"{exchange} {key}"] = _publish(channel, exchange, key)
        method, _properties, _body = channel.basic_get(caught, auto_ack=True)
        inequivalent = refusal(lambda: connection.channel().exchange_declare(ORDERS, "direct"))
        return {
            "returned": returned,
            "routed": drain(channel, routed),
            "caught": [method.exchange, method.routing_key, *drain(channel, caught)],
            "declared without it": inequivalent,
        }


def _publish(channel: Any, exchange: str, key: str) -> Json:
    """Publish mandatory; tells which exchange the return names, or None when the message was routed."""
    try:
        channel.basic_publish(exchange, key, f"{exchange} {key}".encode(), mandatory=True)
    except pika.exceptions.UnroutableError as error:
        return [m.method.exchange for m in error.messages]
    return None


INEQUIVALENT = (
    f"PRECONDITION_FAILED - inequivalent arg 'alternate-exchange' for exchange '{ORDERS}' in vhost '/': "
    f"received none but current is the value '{UNROUTED}' of type 'longstr'"
)
EXPECTED: Json = {
    "returned": {
        f"{ORDERS} known": None,
        f"{ORDERS} unknown": None,
        f"{LEADS_NOWHERE} known": [LEADS_NOWHERE],
        f"{LEADS_NOWHERE} unknown": [LEADS_NOWHERE],
        f"{TO_MISSING} known": [TO_MISSING],
        f"{TO_MISSING} unknown": [TO_MISSING],
    },
    "routed": [f"{ORDERS} known"],
    "caught": [ORDERS, "unknown"],
    "declared without it": [
        "channel",
        406,
        INEQUIVALENT,
    ],
}

if __name__ == "__main__":
    main(run, EXPECTED)

"""Where amqpd means to answer otherwise than the RabbitMQ that it is compared with, and why.

One list for all programs: program name -> places in its transcript. A place that is not listed must be equal.
"""

from interop.transcript import MISSING, Difference, Json

_HEAD_ONLY = (
    "amqpd expires a message when its time comes; RabbitMQ only at the head of the queue, which users complain of"
)
_CC_KEPT = "RabbitMQ up to 3.12 removed the CC header when there was an x-dead-letter-routing-key"
_NEWEST_FIRST = "RabbitMQ 3.10 turns the order of the older deaths round each time; they are meant to be newest first"


def _cannot_delete_if(what: str) -> Json:
    queue = "queue 'interop.quorum_bad' in vhost '/'"
    text = f"cannot delete {queue}. queue.delete operations with if-{what} flag set are not supported by quorum queues"
    return ["connection", 540, f"NOT_IMPLEMENTED - {text}"]


INTENDED: dict[str, list[Difference]] = {
    "handshake": [
        Difference(
            "announced/version",
            ("3.10.8",),
            "amqpd announces 3.13.7, because kombu chooses its qos mode by product and version",
        ),
    ],
    "headers_exchange": [
        Difference(
            "1.0 matches",
            (["1", "1.0"],),
            "up to 3.12 numbers of different types were equal if their values were",
        ),
    ],
    "direct_reply_to": [
        Difference(
            "calls/mandatory answer came back",
            (["NO_ROUTE"],),
            "RabbitMQ before 4.2 returns a mandatory answer although it delivers it",
        ),
    ],
    "channel_flow": [
        Difference(
            "flow(false)",
            (["connection", 540, "NOT_IMPLEMENTED - active=false"],),
            "amqpd pauses the deliveries of a channel; RabbitMQ has refused to since 3.3, and users miss it",
        ),
        *(
            Difference(path, (MISSING,), "follows from the refused flow(false)")
            for path in ("while paused", "get is not paused", "flow(true) again", "afterwards")
        ),
    ],
    "exact_expiry": [
        Difference("in the middle/ready", (8,), _HEAD_ONLY),
        Difference("in the middle/dead", ([],), _HEAD_ONLY),
        Difference("behind a higher priority/ready", (3,), _HEAD_ONLY),
        Difference("behind a higher priority/dead", ([],), _HEAD_ONLY),
    ],
    "dead_letter_headers": [
        Difference("types/headers/CC", (MISSING,), _CC_KEPT),
        *(
            Difference(f"{place}/x-last-death-{what}", (MISSING,), "RabbitMQ has the x-last-death headers since 3.13")
            for place in ("types/headers", "expiration/last", "first and last/last")
            for what in ("queue", "reason", "exchange")
        ),
    ],
    "dead_letter_routing": [
        Difference("keys/new with CC/2/CC", (MISSING,), _CC_KEPT),
        Difference(
            "keys/nobody else/2",
            (["x"],),
            "amqpd uses the keys of BCC once and keeps them nowhere; RabbitMQ sends dead letters to them, too",
        ),
    ],
    "dead_letter_republish": [
        Difference(
            "with a death that never was",
            ([],),
            "RabbitMQ up to 3.13 drops a message as if it had come in a circle, because a client said so",
        ),
    ],
    "single_active_consumer": [
        Difference(
            "cancel_with_more_to_come/1",
            ([],),
            "a classic queue of RabbitMQ delivers nothing after the cancel until something else happens to the queue",
        ),
    ],
    "delay_by_ttl": [
        Difference(f"one queue/{place}", (body,), _HEAD_ONLY)
        for place, body in enumerate(("third of all", "first of all", "second of all"))
    ],
    "retry_backoff": [
        Difference(f"failed/{place}", (f"interop.backoff_wait_{delay} expired 1",), _NEWEST_FIRST)
        for place, delay in ((4, 50), (5, 100))
    ],
    "quorum_queue": [
        *(Difference(f"push/acquired/{place}", (None,), "x-acquired-count came with 4.3") for place in (1, 2, 3)),
        *(
            Difference(
                f"rules/delete if {what}",
                (_cannot_delete_if(what),),
                "amqpd knows whether its queue is in use or empty",
            )
            for what in ("unused", "empty")
        ),
        Difference(
            "rules/global qos",
            (["connection", 540, "NOT_IMPLEMENTED - queue 'interop.quorum' in vhost '/' does not support global qos"],),
            "amqpd counts what a channel holds from whatever queue, so a limit for the channel holds for all",
        ),
    ],
}

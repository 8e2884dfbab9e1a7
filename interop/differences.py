"""Where amqpd means to answer otherwise than the RabbitMQ that it is compared with, and why.

One list for all programs: program name -> places in its transcript. A place that is not listed must be equal.
"""

from interop.transcript import MISSING, Difference

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
}

"""An exclusive queue: its owner's other channels may use it, other connections may only publish to it."""

import pika

from interop.blocking import connect, drain, queue_exists, refusal, scratch
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json

QUEUE = "interop.mine"
SHARED = "interop.shared"


def refused_to_others(other: pika.BlockingConnection) -> Json:
    def on_new_channel(method: str, *arguments: str, **options: bool) -> Json:
        return list(refusal(lambda: getattr(other.channel(), method)(*arguments, **options)))

    return {
        "declare": on_new_channel("queue_declare", QUEUE),
        "declare exclusive": on_new_channel("queue_declare", QUEUE, exclusive=True),
        "declare passive": on_new_channel("queue_declare", QUEUE, passive=True),
        "get": on_new_channel("basic_get", QUEUE),
        "consume": refusal(lambda: other.channel().basic_consume(QUEUE, print)),
        "purge": on_new_channel("queue_purge", QUEUE),
        "delete": on_new_channel("queue_delete", QUEUE),
        "bind": on_new_channel("queue_bind", QUEUE, "amq.direct", "key"),
        "unbind what is not bound": on_new_channel("queue_unbind", QUEUE, "amq.direct", "key"),
    }


def run(broker: Broker) -> Json:
    with scratch(broker.url, queues=[SHARED]), connect(broker.url) as other:
        owner = connect(broker.url)
        channel = owner.channel()
        channel.queue_declare(QUEUE, exclusive=True)
        channel.queue_declare(SHARED)
        refused = refused_to_others(other)
        mismatch = refusal(lambda: owner.channel().queue_declare(SHARED, exclusive=True))
        durable = refusal(lambda: owner.channel().queue_declare(QUEUE, exclusive=True, durable=True))
        publisher = other.channel()
        publisher.confirm_delivery()
        publisher.basic_publish("", QUEUE, b"from another connection", mandatory=True)
        received = drain(owner.channel(), QUEUE)
        owner.close()
        gone = not queue_exists(other, QUEUE)
        # RabbitMQ deletes exclusive queues before it answers the close, so the name is free at once.
        declared_again = refusal(lambda: other.channel().queue_declare(QUEUE, exclusive=True))
        return {
            "to others": refused,
            "exclusive declare of a shared queue": mismatch,
            "durable is no difference": durable,
            "received": received,
            "gone with its connection": gone,
            "declared by the next owner": declared_again,
        }


def _locked(queue: str) -> Json:
    text = (
        f"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{queue}' in vhost '/'. "
        "It could be originally declared on another connection or the exclusive property value does not "
        "match that of the original declaration."
    )
    return ["channel", 405, text[:255]]


EXPECTED: Json = {
    "to others": {
        "declare": _locked(QUEUE),
        "declare exclusive": _locked(QUEUE),
        "declare passive": _locked(QUEUE),
        "get": _locked(QUEUE),
        "consume": _locked(QUEUE),
        "purge": _locked(QUEUE),
        "delete": _locked(QUEUE),
        "bind": _locked(QUEUE),
        "unbind what is not bound": ["accepted"],
    },
    "exclusive declare of a shared queue": _locked(SHARED),
    "durable is no difference": ["accepted"],
    "received": ["from another connection"],
    "gone with its connection": True,
    "declared by the next owner": ["accepted"],
}

if __name__ == "__main__":
    main(run, EXPECTED)

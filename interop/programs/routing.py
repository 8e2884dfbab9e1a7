"""Tutorial 4: a direct exchange; one subscriber takes errors, the other every severity."""

from interop.blocking import connect, drain, scratch
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json

EXCHANGE = "interop.direct_logs"


def run(broker: Broker) -> Json:
    with scratch(broker.url, exchanges=[EXCHANGE]), connect(broker.url) as connection:
        channel = connection.channel()
        channel.exchange_declare(EXCHANGE, exchange_type="direct")
        queues = {}
        for subscriber, severities in [("file", ["error"]), ("screen", ["info", "warning", "error"])]:
            queues[subscriber] = channel.queue_declare("", exclusive=True).method.queue
            for severity in severities:
                channel.queue_bind(queues[subscriber], EXCHANGE, severity)
        for severity in ["info", "error", "debug", "warning", "ERROR", "error.disk"]:
            channel.basic_publish(EXCHANGE, severity, f"a message of {severity}".encode())
        before = {subscriber: drain(channel, queue) for subscriber, queue in queues.items()}
        channel.queue_unbind(queues["screen"], EXCHANGE, "error")
        channel.basic_publish(EXCHANGE, "error", b"after unbinding")
        after = {subscriber: drain(channel, queue) for subscriber, queue in queues.items()}
        return {"before": before, "after": after}


EXPECTED: Json = {
    "before": {
        "file": ["a message of error"],
        "screen": ["a message of info", "a message of error", "a message of warning"],
    },
    "after": {"file": ["after unbinding"], "screen": []},
}

if __name__ == "__main__":
    main(run, EXPECTED)

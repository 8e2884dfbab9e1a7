"""RabbitMQ's management API as far as clients' own tests use it: they look for a connection and close it."""

import json
import os
import subprocess
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from interop.broker import Broker

HABIT = 10000  # how far RabbitMQ's management port is from its AMQP port
PATH = "/api/connections/"
COMMAND_SECONDS = 30.0
POLL_SECONDS = 0.05


@contextmanager
def management_port(broker: Broker) -> Iterator[int]:
    """The port on 127.0.0.1 where the API answers for the time of the block; an amqpd of ours is spoken for."""
    if broker.data_dir is None:
        amqp_port = urllib.parse.urlsplit(broker.url).port or 5672
        url = urllib.parse.urlsplit(os.environ.get("RABBITMQ_MANAGEMENT_URL", ""))
        yield url.port or amqp_port + HABIT
        return
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(broker)) as server:
        Thread(target=server.serve_forever, args=(POLL_SECONDS,), daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


def _handler(broker: Broker) -> type[BaseHTTPRequestHandler]:
    """Answers requests by amqpd's command line."""

    def asked(*words: str) -> subprocess.CompletedProcess[str]:
        command = [*broker.tool, "--json", "connections", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != PATH or (done := asked("list")).returncode != 0:
                self.send_error(404)
                return
            rows = [
                {"name": row["name"], "client_properties": {"connection_name": row["client_name"]}}
                for row in json.loads(done.stdout)
            ]
            body = json.dumps(rows).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_DELETE(self) -> None:
            name = urllib.parse.unquote(self.path.removeprefix(PATH))
            if not self.path.startswith(PATH) or asked("close", "--", name).returncode != 0:
                self.send_error(404)
                return
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_words: object) -> None:
            """Nothing is said on standard error."""

    return Handler

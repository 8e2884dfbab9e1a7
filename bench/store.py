"""What the store costs for each message: insert, and delete some commits later.

    python -m bench.store [--seconds 2] [--busy] [--directory DIR]

Prints, for each size and number of messages a commit: microseconds of wall time and of CPU for each message
(insert and delete together), the median and 99th percentile of a commit, and how large the log became.
``--busy`` keeps another thread at work with the GIL, as the broker's main thread does.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import tempfile
import threading
import time
from collections import deque
from pathlib import Path

from amqpd.broker.batch import Batch, Definition, Scalar
from amqpd.store.sqlite import SqliteStore

LAG = 4  # commits between a message's insert and its delete


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each row of the table")
    parser.add_argument("--queues", type=int, default=1, help="the messages of a commit go to this many in turn")
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--directory", default=None, help="where the files go; a temporary directory by default")
    options = parser.parse_args()
    print("  body  a commit   us wall   us cpu    p50 ms    p99 ms   log MiB")
    for size in (1024, 100):
        for rows in (1000, 100, 1):
            with tempfile.TemporaryDirectory(dir=options.directory) as directory:
                measure(Path(directory), size, rows, options)


def measure(directory: Path, size: int, rows: int, options: argparse.Namespace) -> None:
    store = SqliteStore(directory / "amqpd.db")
    store.open("bench", "bench")
    store.commit(first_batch(options.queues))
    stop = threading.Event()
    helpers = [threading.Thread(target=checkpoint, args=(store, stop))]
    if options.busy:
        helpers.append(threading.Thread(target=be_busy, args=(stop,)))
    for helper in helpers:
        helper.start()
    times, cpu = commit_for(store, options, size, rows)
    stop.set()
    for helper in helpers:
        helper.join()
    log = (directory / "amqpd.db-wal").stat().st_size
    store.close(release=True)
    messages = len(times) * rows
    times.sort()
    print(
        f"{size:6} {rows:9} {sum(times) / messages * 1e6:9.2f} {cpu / messages * 1e6:8.2f}"
        f" {statistics.median(times) * 1e3:9.2f} {times[int(len(times) * 0.99)] * 1e3:9.2f}"
        f" {log / 2**20:9.1f}",
        flush=True,
    )


def commit_for(store: SqliteStore, options: argparse.Namespace, size: int, rows: int) -> tuple[list[float], float]:
    """Commit for some seconds; returns the commits' seconds, and the thread's CPU seconds in them."""
    bodies = [os.urandom(size) for _ in range(64)]
    waiting: deque[Batch] = deque()
    times: list[float] = []
    cpu = 0.0
    number, message = 2, options.queues + 1
    end = time.perf_counter() + options.seconds
    while time.perf_counter() < end:
        batch = Batch(number)
        ids = range(message, message + rows)
        batch.messages = [(id_, "", "queue", b"\x10\x00\x02", bodies[id_ % 64]) for id_ in ids]
        batch.entries = [(1 + id_ % options.queues, id_, 0) for id_ in ids]
        batch.depths = [(1 + queue, rows * LAG, rows * LAG * size) for queue in range(min(rows, options.queues))]
        message += rows
        batch.next_id = message
        waiting.append(batch)
        if len(waiting) > LAG:
            settle(waiting.popleft(), batch)
        start_cpu, start = time.thread_time(), time.perf_counter()
        store.commit(batch)
        times.append(time.perf_counter() - start)
        cpu += time.thread_time() - start_cpu
        number += 1
    return times, cpu


def settle(old: Batch, batch: Batch) -> None:
    first, last = old.messages[0][0], old.messages[-1][0]
    batch.settled = [(queue, first, last) for queue in sorted({row[0] for row in old.entries})]
    batch.released = [(first, last)]


def first_batch(queues: int) -> Batch:
    batch = Batch(1)
    batch.next_id = queues + 1
    columns: dict[str, Scalar] = {"vhost": "/", "auto_delete": 0, "type": "classic", "arguments": b"", "levels": 1}
    batch.definitions = [
        Definition("queue", False, {"id": queue, "name": f"bench-{queue}", **columns}) for queue in range(1, queues + 1)
    ]
    return batch


def checkpoint(store: SqliteStore, stop: threading.Event) -> None:
    while not stop.wait(0.1):
        store.checkpointer.checkpoint_step()


def be_busy(stop: threading.Event) -> None:
    """Some Python, then a system call, again and again."""
    left, right = socket.socketpair()
    with left, right:
        while not stop.is_set():
            sum(range(10_000))
            left.send(b"x")
            right.recv(1)


if __name__ == "__main__":
    main()

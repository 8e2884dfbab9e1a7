"""The named loads: one row each, the options amqpbench gets and the figures that are compared."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from bench.harness.client import Address, ClientError, Connection
from bench.harness.generator import Answer, Generator

PACED_RATE = 2000
# Below this part of the asked rate a run did not keep its pace: its latencies are those of another load.
PACED_KEPT = 0.98
PACED_WARMUP_S = 1.0
QUEUES_MAX = 2000  # the most queues a load declares


@dataclass(frozen=True)
class Load:
    """A load. ``rate`` names the summary field that is compared (higher is better), ``unit`` what it counts.

    CPU per message is ``cpu`` divided by ``per`` times ``per_scale``. ``latencies`` are shown beside the rate
    in milliseconds. ``pace`` is the asked messages/s, 0 when the load runs as fast as it can; ``timed`` is
    false when it ends by count.
    """

    name: str
    doc: str
    options: str
    rate: str = "e2e_rate"
    unit: str = "msg/s"
    cpu: str = "broker_cpu_s"
    per: str = "consumed"
    per_scale: float = 1.0
    latencies: tuple[str, ...] = ()
    pace: float = 0.0
    timed: bool = True

    def figures(self, answer: Answer) -> dict[str, float | None]:
        """Return rate, CPU microseconds per message, RSS in MiB and latencies in ms of one run."""
        cpu_s, count = answer.number(self.cpu), answer.number(self.per)
        rss_kb, peak_kb = answer.number("broker_rss_kb"), answer.number("broker_rss_peak_kb")
        figures = {
            "rate": answer.number(self.rate),
            "cpu_us": cpu_s * 1e6 / (count * self.per_scale) if cpu_s is not None and count else None,
            "rss_mib": rss_kb / 1024 if rss_kb is not None else None,
            "rss_peak_mib": peak_kb / 1024 if peak_kb is not None else None,
        }
        for path in self.latencies:
            latency_us = answer.number(path)
            figures[path] = latency_us / 1000 if latency_us is not None else None
        return figures


_PERSISTENT = "--size 1024 --persistent --durable --confirm 1000 --prefetch 500 --multi-ack 50"
_CONFIRMED = "--size 1024 --persistent --durable --confirm 1000"
_CONFIRM = ("confirm_us.p50", "confirm_us.p99", "confirm_us.mean")

LOADS = (
    Load("persistent", "1 KiB persistent, confirm window 1000, prefetch 500, ack every 50, 1 to 1", _PERSISTENT),
    Load("transient", "16 B transient, auto-ack, 1 to 1", "--size 16 --transient --autoack"),
    Load(
        "paced",
        f"the persistent load at {PACED_RATE:,} msg/s",
        f"{_PERSISTENT} --rate {PACED_RATE} --warmup {PACED_WARMUP_S}",
        rate="pub_rate",
        latencies=(*_CONFIRM, "deliver_us.p50"),
        pace=PACED_RATE,
    ),
    Load(
        "persistent10",
        "the persistent load, 10 to 10 over 10 queues",
        f"{_PERSISTENT} --producers 10 --consumers 10 --queues 10",
    ),
    Load(
        "ttl",
        "the persistent load through a queue with a message TTL of a minute",
        f"{_PERSISTENT} --queue-args x-message-ttl=60000",
    ),
    Load(
        "expiring",
        "1 KiB persistent, confirm window 1000, nobody consumes: every message expires after 200 ms",
        f"{_CONFIRMED} --consumers 0 --queue-args x-message-ttl=200",
        rate="conf_rate",
        per="confirmed",
    ),
    Load(
        "priority",
        "the persistent load through a queue with 10 priorities",
        f"{_PERSISTENT} --queue-args x-max-priority=10",
    ),
    Load(
        "maxlength",
        "the persistent load through a queue that keeps at most 100,000 messages",
        f"{_PERSISTENT} --queue-args x-max-length=100000",
    ),
    Load(
        "stream",
        "the persistent load through a stream, its consumer at the end",
        f"{_PERSISTENT} --queue-args x-queue-type=stream",
    ),
    Load(
        "dropping",
        "1 KiB persistent, confirm window 1000, nobody consumes: a queue of 10,000 drops its oldest",
        f"{_CONFIRMED} --consumers 0 --queue-args x-max-length=10000",
        rate="conf_rate",
        per="confirmed",
    ),
    Load(
        "rpc",
        "50 connections calling through direct reply-to, 1 server",
        "rpc --producers 50 --consumers 1 --size 16 --transient",
        rate="rpc_rate",
        unit="rpc/s",
        per_scale=0.5,  # a call is two deliveries: the request and the reply
        latencies=("rtt_us.p50", "rtt_us.p99"),
    ),
    Load(
        "topic",
        "16 B transient through 1,000 wildcard bindings on 10 queues, one of which matches",
        "--exchange topic --bindings 1000 --queues 10 --consumers 10 --size 16 --transient --autoack",
    ),
    Load(
        "fanout20",
        "16 B transient, 1 to 20 queues; per delivery",
        "fanout --queues 20 --size 16 --transient --autoack",
        unit="deliveries/s",
    ),
    Load(
        "headers",
        "16 B transient through 100 headers bindings on 10 queues, one of which matches",
        "--exchange headers --bindings 100 --queues 10 --consumers 10 --size 16 --transient --autoack",
    ),
    Load(
        "churn",
        "8 clients: connect, declare, publish with confirm, close",
        "churn --producers 8 --confirm 1 --size 16",
        rate="cycle_rate",
        unit="cycles/s",
        per="cycles",
        latencies=("cycle_us.p50", "cycle_us.p99"),
    ),
    Load(
        "large",
        "1 MiB persistent, confirm window 16, prefetch 16",
        "--size 1048576 --persistent --durable --confirm 16 --prefetch 16",
    ),
    Load(
        "window1",
        "1 KiB persistent, 50 producers with confirm window 1 to one queue",
        "--size 1024 --persistent --durable --producers 50 --confirm 1 --prefetch 500 --multi-ack 50",
        latencies=("confirm_us.p50", "confirm_us.p99"),
    ),
    Load(
        "manyqueues",
        f"{QUEUES_MAX:,} durable queues declared one after the other, one message each, deleted",
        f"manyqueues --queues {QUEUES_MAX} --durable --persistent --size 1024",
        rate="declare_rate",
        unit="declares/s",
        cpu="declare_cpu_s",
        per="queues",
        timed=False,
    ),
)

BY_NAME = {load.name: load for load in LOADS}


def run_load(generator: Generator, load: Load, address: Address, pid: int | None, time_s: float, prefix: str) -> Answer:
    """Run ``load`` once for ``time_s``, its queues named ``prefix``; nothing of it stays in the broker."""
    options = [*load.options.split(), "--prefix", prefix]
    window = ["--time", str(time_s)] if load.timed else []
    try:
        answer = generator.run(address, [*options, *window], pid=pid, longest_s=time_s)
    except BaseException:  # interrupted: the generator was killed and could not clean up
        remove_leftovers(address, prefix)
        raise
    if not answer.ok:
        remove_leftovers(address, prefix)
    if answer.ok and load.pace and (answer.number("pub_rate") or 0) < load.pace * PACED_KEPT:
        return Answer(False, answer.summary, f"published {answer.number('pub_rate')} of {load.pace} msg/s")
    return answer


def remove_leftovers(address: Address, prefix: str) -> None:
    """Delete what a load that broke off may have left; a broker that is gone keeps it."""
    with suppress(ClientError, OSError), Connection(address) as connection:
        connection.delete_many([f"{prefix}.q{index:05}" for index in range(QUEUES_MAX)])
        for kind in ("topic", "headers", "fanout"):
            connection.delete_exchange(f"{prefix}.x-{kind}")

"""``python -m interop.side_by_side --against URL``: the first differing frame of every scenario."""

import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

from interop.broker import running_amqpd, running_elsewhere
from interop.side_by_side import compare
from interop.suite.family import Check


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--against", metavar="URL", required=True, help="A RabbitMQ, with its management plugin.")
@click.option("--scratch", type=click.Path(path_type=Path), help="Keep the recordings in this new directory.")
def main(against: str, scratch: Path | None) -> None:
    """Run the conformance set on an amqpd started for it and on a RabbitMQ, and compare every frame.

    Exit status 0: they differ nowhere but where they are meant to.
    """
    with ExitStack() as stack:
        if scratch is None:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="interop-")))
        else:
            scratch.mkdir()
        (directory := scratch / "broker").mkdir()
        amqpd = stack.enter_context(running_amqpd(directory))
        rabbitmq = stack.enter_context(running_elsewhere(against))
        outcome = compare(amqpd, rabbitmq, scratch)
    shown(outcome.checks)
    sys.exit(1 if any(check.result == "failed" for check in outcome.checks) else 0)


def shown(checks: list[Check]) -> None:
    for check in checks:
        if check.explanation:
            click.echo(f"{check.result}: {check.name}: {check.explanation}")
    counts = {result: sum(check.result == result for check in checks) for result in ("passed", "failed", "skipped")}
    differing = sum(check.result == "passed" and bool(check.explanation) for check in checks)
    click.echo(", ".join(f"{count} {result}" for result, count in counts.items()) + f"; {differing} differ as listed")


if __name__ == "__main__":
    main()

"""This project's own tests with real clients, as families: the compared transcripts, the programs of the documents."""

from interop.suite import pytests
from interop.suite.control import controlling
from interop.suite.family import Family, Outcome, Run, Unavailable
from interop.suite.programs import address

TRANSCRIPTS = ("interop/test_programs.py", "interop/test_field_types.py", "interop/test_definitions.py")


def families(against: str | None) -> list[Family]:
    """With ``against``, the URL of a RabbitMQ, every transcript is compared with the one from there, too."""

    def transcripts(run: Run) -> Outcome:
        with controlling(run.broker, run.scratch) as control:
            environment = {"AMQPD_URL": address(run.broker.url)["AMQP_URL"], "INTEROP_CONTROL": str(control)}
            if against is None:
                return Outcome("", pytests.run(TRANSCRIPTS, run.scratch, "interop and not rabbitmq", environment))
            environment["RABBITMQ_URL"] = against
            return Outcome("", pytests.run(TRANSCRIPTS, run.scratch, "interop", environment))

    return [
        Family("transcripts", "Python", transcripts, ci=True, tags=("own",)),
        Family("documents", "Python", _documents, ci=True, tags=("own",)),
    ]


def _documents(run: Run) -> Outcome:
    """Each starts the broker that its page describes."""
    if not run.ours:
        raise Unavailable("the documents are those of amqpd")
    return Outcome("", pytests.run(("tests",), run.scratch, "interop", {}))

"""Feed mutated sessions to a broker in this process until the time is over, or something does not hold.

    python -m tests.fuzz [--seconds 60] [--seed N] [--directory var/fuzz] [--replay FILE] [--no-atheris]

With atheris installed it is guided by coverage (pure form only) and keeps its corpus in the directory;
without it sessions are mutated by chance, starting from the seed. What fails is written to the directory as
a file for ``--replay``.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import random
import sys
import time
from pathlib import Path

from tests.fuzz.mutation import mutated, pieces
from tests.fuzz.sessions import sessions
from tests.fuzz.trial import Trial

TRIALS_FOR_A_BROKER = 50


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=time.time_ns() & 0xFFFFFFFF)
    parser.add_argument("--directory", type=Path, default=Path("var/fuzz"))
    parser.add_argument("--replay", type=Path, help="a file that failed before")
    parser.add_argument("--no-atheris", action="store_true")
    options = parser.parse_args()
    if options.replay is not None:
        Trial().run([options.replay.read_bytes()])
        print("nothing failed")
        return 0
    options.directory.mkdir(parents=True, exist_ok=True)
    if not options.no_atheris and importlib.util.find_spec("atheris") is not None:
        return guided(options.directory, options.seconds, options.seed)
    return unguided(options.directory, options.seconds, options.seed)


def unguided(directory: Path, seconds: float, seed: int) -> int:
    print(f"seed {seed}, without atheris")
    good = sessions()
    chance = random.Random(seed)
    trial = Trial()
    tried = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if tried % TRIALS_FOR_A_BROKER == 0:
            trial = Trial()
        tried += 1
        stream = mutated(chance.choice(good), good, chance)
        try:
            trial.run(pieces(stream, chance))
        except Exception:
            failed = directory / f"failed-{seed}-{tried}"
            failed.write_bytes(stream)
            print(f"trial {tried} failed; its bytes are in {failed}, the trials before it matter, too")
            raise
    print(f"{tried} sessions, nothing failed")
    return 0


def guided(directory: Path, seconds: float, seed: int) -> int:
    """atheris drives; it ends the process itself."""
    atheris = importlib.import_module("atheris")
    corpus = directory / "corpus"
    corpus.mkdir(exist_ok=True)
    good = sessions()
    for number, session in enumerate(good):
        (corpus / f"good-{number}").write_bytes(session)

    def one(data: bytes) -> None:
        chance = random.Random(len(data))
        Trial().run(pieces(data, chance) if data else [])

    def mutate(data: bytes, size_max: int, chosen: int) -> bytes:
        chance = random.Random(chosen)
        if chance.random() < 0.3:
            return bytes(atheris.Mutate(data, size_max))
        return mutated(data, good, chance)[:size_max]

    atheris.instrument_all()
    arguments = [
        sys.argv[0],
        f"-max_total_time={max(int(seconds), 1)}",
        f"-seed={seed & 0x7FFFFFFF or 1}",
        "-max_len=65536",
        f"-artifact_prefix={directory}/failed-",
        str(corpus),
    ]
    atheris.Setup(arguments, one, custom_mutator=mutate)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())

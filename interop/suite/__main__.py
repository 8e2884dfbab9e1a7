"""``python -m interop.suite``: what ``interop/run`` runs."""

from interop.suite.cli import main

main(prog_name="interop/run")

"""One module per thing that users of a message broker do.

Each has ``run(broker)``, which returns what the client saw, and ``EXPECTED``, what it must have seen. Each
can be run by hand: ``python -m interop.programs.<name> --url URL``.
"""

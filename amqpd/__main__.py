"""``python -m amqpd`` is ``amqpd``."""

from amqpd.server.cli import main

if __name__ == "__main__":
    main()

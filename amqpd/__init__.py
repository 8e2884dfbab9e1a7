"""amqpd: a RabbitMQ-compatible AMQP 0-9-1 broker with durable queues in SQLite."""

__version__ = "0.1.0"

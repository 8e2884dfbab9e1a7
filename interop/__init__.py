"""Programs that real AMQP clients run against amqpd and, for comparison, against RabbitMQ."""

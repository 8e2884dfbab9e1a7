"""Constants, errors and the argument table: what the specification and RabbitMQ say, as data."""

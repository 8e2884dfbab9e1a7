"""Exchange types: which queues a routing key reaches."""

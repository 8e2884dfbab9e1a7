"""RabbitMQ extensions, one module each, plugged into the seams of the layers below."""

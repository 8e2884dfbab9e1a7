"""Messages, routing, the journal and the turn."""

"""Queue types and the orders their messages wait in."""

"""Who may come in and what they may touch: users, passwords, permissions, limits, SASL mechanisms."""

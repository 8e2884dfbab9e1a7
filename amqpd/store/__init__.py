"""Where sealed batches become durable, and how they are read back."""

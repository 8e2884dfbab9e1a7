"""What the measuring scripts of `bench/` share: brokers, the load generator, figures and reports."""

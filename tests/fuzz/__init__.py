"""What a broker does with bytes that no client would send."""

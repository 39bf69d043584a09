"""Ten short lessons, a module each; run them with ``bb5_breaker.circuit_breaker_examples``."""

"""What the breaker is made of between the user's call and the store."""

"""A fleet in one thread: real views, boards and feeds over a simulated store and network."""

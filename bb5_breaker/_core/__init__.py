"""Everything that decides: no input or output, no clock, no lock, no randomness."""

"""What the scripts bench_*.py share: timing, servers, contestants and reports."""

"""What `speed.py` runs: figures, clocks, bounds, and a file for each kind of measurement."""

"""What everything stands on, without PyTorch: errors, geometry, arrays, threads, compiling."""

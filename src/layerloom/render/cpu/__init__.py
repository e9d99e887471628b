"""Any shot on the CPU, compiled by Numba."""

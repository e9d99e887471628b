"""Any shot on a GPU, in one Triton kernel."""

"""Bilinear splatting, the adjoint of the bilinear look-up."""

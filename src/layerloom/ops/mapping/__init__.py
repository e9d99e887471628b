"""A layer's mapping: prior, affine correction and lattice."""

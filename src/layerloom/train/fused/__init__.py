"""A training step as a chain of GPU kernels, with the same values and gradients as the plain step."""

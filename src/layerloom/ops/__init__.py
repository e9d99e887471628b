"""Differentiable operations, each with a reference in plain PyTorch and compiled versions of the same meaning."""

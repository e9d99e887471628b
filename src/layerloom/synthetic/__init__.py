"""Clips with exact truth: the demo's and the tests' input."""

"""Multiresolution hash grid encoding."""

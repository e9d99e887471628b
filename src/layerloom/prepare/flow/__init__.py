"""Optical flow between frames near and far, both ways, with a confidence."""

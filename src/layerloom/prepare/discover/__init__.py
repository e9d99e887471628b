"""Masks where none are given: what moves, departs from the background and looks like an object."""

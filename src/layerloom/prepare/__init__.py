"""Footage to a Clip: flow, masks and motion."""

"""A project as files that other programs read."""

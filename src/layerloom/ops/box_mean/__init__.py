"""Means over square neighbourhoods."""

"""Given masks: read, made whole, corrected, soft where outlines are."""

"""Edits to what each output frame shows: shots, placed pictures, cameras, times."""

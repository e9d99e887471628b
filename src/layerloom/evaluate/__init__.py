"""How good a project is: figures, tracks, a report."""

"""From edits to one checked plan: what each output frame shows, and what happens to the layers."""

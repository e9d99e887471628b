"""What the two halves hand over: a prepared Clip, a stored Project, its layers, maps and mattes."""

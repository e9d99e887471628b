"""A Clip to a trained field: settings, batches, losses, optimiser, the loop."""

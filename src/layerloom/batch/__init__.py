"""Many clips at once, on one machine or a cluster: each goes through its stages, and one summary tells of all."""

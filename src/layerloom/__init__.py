"""layerloom: a video as a few layers that an artist edits as still images."""

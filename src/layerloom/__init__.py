"""layerloom: a video as a few layers that an artist edits as still images."""

import os

# PyTorch's and Numba's thread pools share the cores: threads that spin while they wait take them from each other (a
# training step took ten times as long beside another busy process). Read once, when PyTorch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

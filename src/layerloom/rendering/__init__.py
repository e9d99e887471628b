"""From shots to pixels: one meaning, several back ends.

scene.py        project and edits, read and checked: what every back end starts from
definition.py   the meaning, in plain PyTorch; renders any shot on any device
cpu.py          ordinary frames with OpenCV, where edits touch them
"""

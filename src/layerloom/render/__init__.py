"""From shots to pixels: one meaning, several back ends.

scene.py        project and edits, read and checked: what every back end starts from
definition.py   the meaning, in plain PyTorch; renders any shot on any device
packing.py      a shot as tables of records, with the addresses of its grids, for compiled loops
addresses.py    what compiled loops read at an address
sampling.py     the definition at one point, compiled by Numba
tiles.py        where a tile of the output may lie on a canvas, for sure
cpu.py          any shot on the CPU, tile by tile, only what edits make necessary
kernel.py       a frame in one Triton kernel
cuda.py         any shot on a GPU, where maps and textures stay
choice.py       picks a back end
detail.py       what the layers cannot explain of the source's pictures, for shots that are no ordinary frames
"""

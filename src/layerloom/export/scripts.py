"""Scripts for other programs that rebuild the shot from an export: Σ matte · lighting · texture(st).

layerloom.nk                Nuke: opened as a script, or pasted into one that lies beside it
blender_compositor.py       Blender 4.2 to 4.5: blender --python blender_compositor.py

Both work on display-referred values, read raw, and find the files by the folder that they lie in themselves.
"""

import json
from collections.abc import Sequence
from fractions import Fraction

from layerloom.core.geometry import Size
from layerloom.data.project import Layer
from layerloom.export.point_tracks import nuke_name


def nuke_script(layers: Sequence[Layer], size: Size, frames: int, fps: Fraction) -> str:
    """Text of a Nuke script whose last node is the shot in Nuke's linear colour."""
    width, height = size
    lines = [
        "Root {",
        " inputs 0",
        ' project_directory "\\[file dirname \\[value root.name]]"',
        " first_frame 0",
        f" last_frame {frames - 1}",
        f" fps {float(fps):.6g}",
        f' format "{width} {height} 0 0 {width} {height} 1 layerloom"',
        "}",
    ]
    # A node takes its inputs from a stack, the first one from its top.
    for number, layer in enumerate(layers):
        name = layer.name
        lines += _read(f"{name}/st/%05d.exr", nuke_name("ST", name), frames)
        lines += _read(f"{name}/texture.png", nuke_name("Texture", name), 1)
        lines += [f"STMap {{\n inputs 2\n channels rgb\n uv rgb\n name {nuke_name('Warp', name)}\n}}"]
        lines += [f"Crop {{\n box {{0 0 {width} {height}}}\n reformat true\n name {nuke_name('Frame', name)}\n}}"]
        lines += _read(f"{name}/lighting/%05d.exr", nuke_name("Lighting", name), frames)
        lines += _merge("multiply", nuke_name("Light", name))
        lines += _read(f"{name}/matte/%05d.png", nuke_name("Matte", name), frames)
        lines += _merge("multiply", nuke_name("Cut", name))
        if number:
            lines += _merge("plus", nuke_name("Add", name))
    lines += ["Colorspace {\n colorspace_in sRGB\n name Shot\n}"]
    return "\n".join(lines) + "\n"


def _read(file: str, name: str, frames: int) -> list[str]:
    last = frames - 1
    times = f" first 0\n last {last}\n origfirst 0\n origlast {last}\n origset true\n" if frames > 1 else ""
    return [f'Read {{\n inputs 0\n file "{file}"\n{times} raw true\n name {name}\n}}']


def _merge(operation: str, name: str) -> list[str]:
    return [f"Merge2 {{\n inputs 2\n operation {operation}\n name {name}\n}}"]


def blender_script(layers: Sequence[Layer], size: Size, frames: int, fps: Fraction) -> str:
    """Text of a Python script that fills the compositor of Blender's open scene."""
    facts = {
        "layers": [layer.name for layer in layers],
        "size": list(size),
        "frames": frames,
        "fps": [fps.numerator, fps.denominator],
    }
    return _BLENDER.replace("FACTS", json.dumps(facts, ensure_ascii=True))


_BLENDER = '''"""Rebuilds a shot from a layerloom export in Blender's compositor (4.2 to 4.5)."""

from pathlib import Path

import bpy

EXPORT = FACTS
FOLDER = Path(__file__).resolve().parent

scene = bpy.context.scene
scene.use_nodes = True
tree = scene.node_tree
tree.nodes.clear()


def node(kind, name, column, row, **inputs):
    made = tree.nodes.new("CompositorNode" + kind)
    made.name = made.label = name
    made.location = (300 * column, -400 * row)
    for socket, source in inputs.items():
        link(source, made.inputs[socket])
    return made


def link(output, socket):
    tree.links.new(output, socket)


def read(path, name, row, sequence):
    image = bpy.data.images.load(str(FOLDER / path))
    image.colorspace_settings.name = "Non-Color"
    image.alpha_mode = "CHANNEL_PACKED"  # so that colour is not multiplied by alpha
    made = node("Image", name, 0, row)
    made.image = image
    if sequence:
        image.source = "SEQUENCE"
        made.frame_duration = EXPORT["frames"]
        made.frame_start = 0
        made.frame_offset = -1  # frame 0 shows file 0
    return made.outputs["Image"]


def mix(operation, name, column, row, first, second):
    made = node("MixRGB", name, column, row)
    made.blend_type = operation
    made.inputs[0].default_value = 1.0
    link(first, made.inputs[1])
    link(second, made.inputs[2])
    return made.outputs["Image"]


shot = None
for number, layer in enumerate(EXPORT["layers"]):
    row = 4 * number
    texture = read(f"{layer}/texture.png", f"texture {layer}", row, False)
    st = read(f"{layer}/st/00000.exr", f"st {layer}", row + 1, True)
    lighting = read(f"{layer}/lighting/00000.exr", f"lighting {layer}", row + 2, True)
    matte = read(f"{layer}/matte/00000.png", f"matte {layer}", row + 3, True)
    parts = node("SeparateColor", f"st parts {layer}", 1, row + 1, Image=st)
    uv = node("CombineColor", f"uv {layer}", 2, row + 1, Red=parts.outputs["Red"], Green=parts.outputs["Green"])
    uv.inputs["Blue"].default_value = 1.0  # Map UV takes the third channel for coverage
    warp = node("MapUV", f"warp {layer}", 3, row, Image=texture, UV=uv.outputs["Image"])
    warp.filter_type = "ANISOTROPIC"
    lit = mix("MULTIPLY", f"light {layer}", 4, row, warp.outputs["Image"], lighting)
    cut = mix("MULTIPLY", f"cut {layer}", 5, row, lit, matte)
    shot = cut if shot is None else mix("ADD", f"add {layer}", 6, row, shot, cut)

node("Composite", "shot", 7, 0, Image=shot)
node("Viewer", "view", 7, 1, Image=shot)

fps = EXPORT["fps"][0] / EXPORT["fps"][1]
scene.frame_start, scene.frame_end = 0, EXPORT["frames"] - 1
scene.render.fps = max(1, round(fps))
scene.render.fps_base = scene.render.fps / fps
scene.render.resolution_x, scene.render.resolution_y = EXPORT["size"]
scene.render.resolution_percentage = 100
scene.view_settings.view_transform = "Raw"  # the values are display-referred already
'''

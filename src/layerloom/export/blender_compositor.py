"""Rebuilds the shot in Blender's compositor, 3.4 to 5.x: blender --python blender_compositor.py

Σ matte · lighting · texture(st), front to back, from the files that lie beside this one; manifest.json names them. The
multiplier of light is one of display-referred colour, so files are read as they are, and the sum is made linear at the
end: with the view Standard, which the script sets, the picture is the footage's own.
"""
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false

import json
from pathlib import Path

import bpy

FOLDER = Path(__file__).resolve().parent
EXPORT = json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))
scene = bpy.context.scene


def compositor_tree():
    """An empty tree that the scene composites by, and the socket that takes its picture."""
    if hasattr(scene, "compositing_node_group"):  # Blender 5: a group of nodes, with an output of its own
        tree = bpy.data.node_groups.new("layerloom", "CompositorNodeTree")
        tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
        scene.compositing_node_group = tree
        output = tree.nodes.new("NodeGroupOutput")
    else:
        scene.use_nodes = True
        tree = scene.node_tree
        tree.nodes.clear()
        output = tree.nodes.new("CompositorNodeComposite")
    output.name = output.label = "shot"
    return tree, output


def node(kind, name, column, row, **inputs):
    made = tree.nodes.new(kind)
    made.name = made.label = name
    made.location = (300 * column, -400 * row)
    for socket, source in inputs.items():
        tree.links.new(source, made.inputs[socket])
    return made


def read(path, name, row, sequence):
    image = bpy.data.images.load(str(FOLDER / path))
    image.colorspace_settings.name = "Non-Color"
    image.alpha_mode = "CHANNEL_PACKED"  # so that colour is not multiplied by alpha
    made = node("CompositorNodeImage", name, 0, row)
    made.image = image
    if sequence:
        image.source = "SEQUENCE"
        made.frame_duration = EXPORT["frames"]
        made.frame_start = 0
        made.frame_offset = -1  # frame 0 shows file 0
    return made.outputs["Image"]


def mix(operation, name, column, row, first, second):
    if hasattr(bpy.types, "CompositorNodeMixRGB"):
        made = node("CompositorNodeMixRGB", name, column, row)
        factor, sockets, result = made.inputs[0], made.inputs[1:3], made.outputs[0]
    else:
        made = node("ShaderNodeMix", name, column, row)
        made.data_type = "RGBA"
        by_identifier = {socket.identifier: socket for socket in made.inputs}
        factor = by_identifier["Factor_Float"]
        sockets = by_identifier["A_Color"], by_identifier["B_Color"]
        result = next(socket for socket in made.outputs if socket.type == "RGBA")
    made.blend_type = operation
    factor.default_value = 1.0
    for source, socket in zip((first, second), sockets):  # noqa: B905  (Blender 3.4 has Python 3.10)
        tree.links.new(source, socket)
    return result


def warp(texture, st, name, row):
    parts = node("CompositorNodeSeparateColor", f"st parts {name}", 1, row + 1, Image=st)
    uv = node("CompositorNodeCombineColor", f"uv {name}", 2, row + 1)
    tree.links.new(parts.outputs["Red"], uv.inputs["Red"])
    tree.links.new(parts.outputs["Green"], uv.inputs["Green"])
    uv.inputs["Blue"].default_value = 1.0  # Map UV takes the third channel for coverage
    made = node("CompositorNodeMapUV", f"warp {name}", 3, row, Image=texture, UV=uv.outputs["Image"])
    if hasattr(made, "filter_type"):  # Blender 4
        made.filter_type = "ANISOTROPIC"
    if "Interpolation" in made.inputs:  # Blender 5
        made.inputs["Interpolation"].default_value = "Bilinear"
        for axis in ("X", "Y"):
            made.inputs[f"Extension {axis}"].default_value = "Extend"
    return made.outputs["Image"]


def opaque(picture):
    made = node("CompositorNodeSetAlpha", "opaque", 7, 0, Image=picture)
    if "Type" in made.inputs:
        made.inputs["Type"].default_value = "Replace Alpha"
    else:
        made.mode = "REPLACE_ALPHA"
    made.inputs["Alpha"].default_value = 1.0
    return made.outputs["Image"]


def to_linear(picture):
    made = node("CompositorNodeConvertColorSpace", "to linear", 8, 0, Image=picture)
    made.from_color_space = "sRGB"
    for name in ("Linear Rec.709", "Linear"):  # its names in Blender 4 and later, and before
        try:
            made.to_color_space = name
            break
        except TypeError:
            continue
    return made.outputs["Image"]


tree, output = compositor_tree()
shot = None
for number, layer in enumerate(entry["name"] for entry in EXPORT["layers"]):
    row = 4 * number
    texture = read(f"{layer}/texture.png", f"texture {layer}", row, False)
    st = read(f"{layer}/st/00000.exr", f"st {layer}", row + 1, True)
    lighting = read(f"{layer}/lighting/00000.exr", f"lighting {layer}", row + 2, True)
    matte = read(f"{layer}/matte/00000.png", f"matte {layer}", row + 3, True)
    lit = mix("MULTIPLY", f"light {layer}", 4, row, warp(texture, st, layer, row), lighting)
    cut = mix("MULTIPLY", f"cut {layer}", 5, row, lit, matte)
    shot = cut if shot is None else mix("ADD", f"add {layer}", 6, row, shot, cut)
linear = to_linear(opaque(shot))
tree.links.new(linear, output.inputs["Image"])
output.location = (2700, 0)
node("CompositorNodeViewer", "view", 9, 1, Image=linear)

rate, base = (int(part) for part in EXPORT["fps"].split("/"))
fps = rate / base
scene.frame_start, scene.frame_end = 0, EXPORT["frames"] - 1
scene.render.fps = max(1, round(fps))
scene.render.fps_base = scene.render.fps / fps
scene.render.resolution_x, scene.render.resolution_y = EXPORT["width"], EXPORT["height"]
scene.render.resolution_percentage = 100
scene.view_settings.view_transform = "Standard"
scene.view_settings.look = "None"

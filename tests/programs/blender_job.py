"""Run inside Blender: blender_job.py JOB FOLDER OUT. Jobs: version, shot (frames as PNG), layers (of an EXR)."""
# pyright: basic, reportMissingImports=false

import json
import runpy
import sys
from pathlib import Path

import bpy

job, folder, out = sys.argv[-3], Path(sys.argv[-2]), Path(sys.argv[-1])
scene = bpy.context.scene
if job == "version":
    print("Blender", bpy.app.version_string)
elif job == "shot":
    runpy.run_path(str(folder / "blender_compositor.py"))
    scene.render.image_settings.file_format = "PNG"
    for frame in range(scene.frame_start, scene.frame_end + 1):
        scene.frame_set(frame)
        scene.render.filepath = str(out / f"{frame}.png")
        bpy.ops.render.render(write_still=True)
    facts = {
        "view": scene.view_settings.view_transform,
        "fps": scene.render.fps / scene.render.fps_base,
        "size": [scene.render.resolution_x, scene.render.resolution_y],
    }
    (out / "facts.json").write_text(json.dumps(facts))
elif job == "layers":
    if hasattr(scene, "compositing_node_group"):
        tree = bpy.data.node_groups.new("layers", "CompositorNodeTree")
        scene.compositing_node_group = tree
    else:
        scene.use_nodes = True
        tree = scene.node_tree
    node = tree.nodes.new("CompositorNodeImage")
    node.image = bpy.data.images.load(str(folder))
    out.write_text(json.dumps([socket.name for socket in node.outputs]))

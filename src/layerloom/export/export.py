"""export: a project's parts as files that compositing programs read.

    DIR/manifest.json                 sizes, frames, layers front to back
        layerloom.nk, blender_compositor.py     the shot rebuilt in Nuke and Blender: see `scripts`
        <layer>/texture.png           16-bit straight RGBA on the canvas, as the project holds it
        <layer>/texture.psd, .ora     8-bit layered documents to paint on: see `documents`
        <layer>/matte/00000.png       16-bit grey, linear: composited α; over all layers exactly 65535
        <layer>/st/00000.exr          float32 R, G, B = 0: texel position as Nuke's STMap, bottom to top
        <layer>/st16/00000.png        the same as 16-bit R, G, 65535 for 1, within [0, 1]; for After Effects
        <layer>/lighting/00000.exr    half R, G, B: multiplier of the texture's display-referred colour
        <layer>/st_inverse/00000.exr  the same on the canvas: a texel's place in the frame
        <layer>/tracks/               tracks of a grid of texels: see `trackers`
        <layer>/layer.mov, .webm      the layer with straight alpha, ProRes 4444 and VP9: see `layer_videos`
        exr/00000.exr                 a frame in layers: R, G, B, A, the beauty; <layer>_rgba, _matte, _lighting, _st

Frames count from 0 at the first exported one and have the source's size. The picture is Σ matte · lighting · texture.
"""

from collections.abc import Collection
from pathlib import Path

from layerloom import media
from layerloom.core.atomic import new_folder
from layerloom.core.errors import LayerloomError
from layerloom.core.progress import OnProgress, Progress, silent
from layerloom.core.records import document_text
from layerloom.data.project import Project
from layerloom.export.frame_files import PER_FRAME, FrameFiles
from layerloom.export.layer_videos import VIDEOS, write_layer_videos
from layerloom.export.manifest import make_manifest
from layerloom.export.scripts import blender_script, nuke_script
from layerloom.media.layered_documents import write_document

DEFAULT_PARTS = ("textures", "mattes", "st", "lighting")
PARTS = (*DEFAULT_PARTS, "psd", "ora", "st_inverse", "st16", "tracks", "exr", "prores", "vp9", "nuke", "blender")
"""What can be asked for."""
SCRIPTS = ("nuke", "blender")
"""What reads the default parts."""


def export(
    project: Project,
    directory: str | Path,
    parts: Collection[str] = DEFAULT_PARTS,
    frames: range | None = None,
    on_progress: OnProgress = silent,
) -> None:
    """Write parts of a project (see `PARTS`) and the manifest to a new folder, complete or not at all.

    With scripts come `DEFAULT_PARTS`, which they read. frames: numbered as the source's, from 0; all by default.
    on_progress: videos start anew. If the source is gone, mattes that were learned smaller than it are exported
    unrefined. Raises LayerloomError.
    """
    parts = set(parts)

    def tell(done: float) -> None:
        on_progress(Progress("export", done))

    unknown = sorted(parts - set(PARTS))
    if unknown or not parts:
        raise LayerloomError(f"nothing to export is named '{', '.join(unknown)}'; there are {', '.join(PARTS)}")
    if parts & {*SCRIPTS}:
        parts |= set(DEFAULT_PARTS)
    frames = project.source_range if frames is None else frames
    project.check_frames(frames)
    directory = Path(directory)
    with new_folder(directory) as folder:
        manifest = make_manifest(project, frames, "st16" in parts)
        (folder / "manifest.json").write_text(document_text(manifest), encoding="utf-8")
        if "nuke" in parts:
            names = [layer.name for layer in project.layers]
            text = nuke_script(names, project.source.size, len(frames), project.source.fps, directory)
            (folder / "layerloom.nk").write_text(text, encoding="utf-8")
        if "blender" in parts:
            (folder / "blender_compositor.py").write_text(blender_script(), encoding="utf-8")
        for layer in project.layers:
            (folder / layer.name).mkdir()
            if "textures" in parts:
                # Written anew and not copied: a stored project may hold a link to any file there.
                media.write_image(folder / layer.name / "texture.png", media.quantise(layer.texture, 16))
            for suffix in sorted(parts & {"psd", "ora"}):
                write_document(folder / layer.name / f"texture.{suffix}", layer.texture)
        if parts & {*PER_FRAME, "exr"}:
            FrameFiles(project, folder, parts).write(frames, tell)
        if parts & VIDEOS.keys():
            write_layer_videos(project, folder, sorted(parts & VIDEOS.keys()), frames, tell)

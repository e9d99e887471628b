"""export: a project's parts as files that compositing programs read.

    DIR/manifest.json                 sizes, frames, layers front to back
        <layer>/texture.png           16-bit straight RGBA on the canvas, as the project holds it
        <layer>/texture.psd, .ora 8-bit layered documents to paint on: see `documents` (parts psd, ora)
        <layer>/matte/00000.png       16-bit grey, linear: composited α; over all layers exactly 65535
        <layer>/st/00000.exr          float32 R, G: texel position as Nuke's STMap, bottom to top
        <layer>/lighting/00000.exr    half R, G, B: multiplier of the texture's display-referred colour

Frames count from 0 at the first exported one and have the source's size. The picture is Σ matte · lighting · texture.
"""

import json
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float16, Float32, UInt16

from layerloom import media
from layerloom.conventions import uv_to_st
from layerloom.documents import write_document
from layerloom.errors import UserError
from layerloom.mattes import stream_mattes
from layerloom.project import Project, new_folder

FORMAT = "layerloom-export"
VERSION = 1
DEFAULT_PARTS = ("textures", "mattes", "st", "lighting")
PARTS = (*DEFAULT_PARTS, "psd", "ora")
"""What can be asked for."""
PER_FRAME = frozenset({"mattes", "st", "lighting"})
HALF_MAX = float(np.finfo(np.float16).max)


def export(
    project: Project,
    directory: Path,
    only: Collection[str] | None = None,
    frames: range | None = None,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Write the parts named in `only` (see `PARTS`) and the manifest to a new folder, complete or not at all.

    only: `DEFAULT_PARTS` by default.
    frames: numbered as the source's, from 0; all by default. progress: told the fraction done.
    If the source is gone, mattes that were learned smaller than it are exported unrefined. Raises UserError.
    """
    parts = set(DEFAULT_PARTS if only is None else only)
    unknown = sorted(parts - set(PARTS))
    if unknown or not parts:
        raise UserError(f"nothing to export is named '{', '.join(unknown)}'; there are {', '.join(PARTS)}")
    frames = project.source_range if frames is None else frames
    project.check_frames(frames)
    with new_folder(Path(directory)) as folder:
        (folder / "manifest.json").write_text(json.dumps(_manifest(project, frames), indent=1) + "\n", encoding="utf-8")
        for layer in project.layers:
            (folder / layer.name).mkdir()
            if "textures" in parts:
                shutil.copyfile(layer.folder / "texture.png", folder / layer.name / "texture.png")
            for suffix in sorted(parts & {"psd", "ora"}):
                write_document(folder / layer.name / f"texture.{suffix}", layer.texture)
        if parts & PER_FRAME:
            _export_frames(project, folder, parts, frames, progress)


def _manifest(project: Project, frames: range) -> dict[str, Any]:
    fps = project.source.fps
    return {
        "format": FORMAT,
        "version": VERSION,
        "width": project.source.size[0],
        "height": project.source.size[1],
        "frames": len(frames),
        "first_frame": frames.start,
        "fps": f"{fps.numerator}/{fps.denominator}",
        "layers": [{"name": layer.name, "kind": layer.kind, "canvas": list(layer.canvas)} for layer in project.layers],
    }


def _export_frames(
    project: Project, folder: Path, parts: set[str], frames: range, progress: Callable[[float], None] | None
) -> None:
    names = {"mattes": "matte", "st": "st", "lighting": "lighting"}
    for layer in project.layers:
        for part in parts & PER_FRAME:
            (folder / layer.name / names[part]).mkdir()
    shares = stream_mattes(project, frames) if "mattes" in parts else None
    for number, source_frame in enumerate(frames):
        mattes = _integer_mattes(next(shares)) if shares is not None else None
        for index, layer in enumerate(project.layers):
            target, frame = folder / layer.name, project.frame_index(source_frame)
            if mattes is not None:
                media.write_image(target / "matte" / f"{number:05d}.png", mattes[index])
            if parts & {"st", "lighting"}:
                _export_maps(project, index, frame, target, number, parts)
        if progress is not None:
            progress((number + 1) / len(frames))


def _export_maps(project: Project, index: int, frame: int, target: Path, number: int, parts: set[str]) -> None:
    uv = project.uv(index, frame)
    if "lighting" in parts:
        lighting = np.clip(project.lighting(index, frame, uv=uv), 0, HALF_MAX)
        half: Float16[np.ndarray, "h w 3"] = lighting.astype(np.float16)
        media.write_image(target / "lighting" / f"{number:05d}.exr", half)
    if "st" in parts:
        # In double precision: 1 − v / height must not cost the float32 its last digits.
        st = uv_to_st(uv.astype(np.float64), project.layers[index].canvas)
        media.write_image(target / "st" / f"{number:05d}.exr", st.astype(np.float32))


def _integer_mattes(shares: Float32[np.ndarray, "layers h w"]) -> UInt16[np.ndarray, "layers h w"]:
    """Rounded to 16 bit; the layer with the largest share takes the rounding, so that the sum is exactly 65535."""
    rounded = np.rint(shares * np.float32(65535)).astype(np.int32)
    missing = 65535 - rounded.sum(0)
    largest = shares.argmax(0)[None]
    np.put_along_axis(rounded, largest, np.take_along_axis(rounded, largest, 0) + missing, 0)
    return np.clip(rounded, 0, 65535).astype(np.uint16)

"""export: a project's parts as files that compositing programs read.

    DIR/manifest.json                 sizes, frames, layers front to back
        layerloom.nk, blender_compositor.py     the shot rebuilt in Nuke and Blender: see `scripts`
        <layer>/texture.png           16-bit straight RGBA on the canvas, as the project holds it
        <layer>/texture.psd, .ora     8-bit layered documents to paint on: see `documents`
        <layer>/matte/00000.png       16-bit grey, linear: composited α; over all layers exactly 65535
        <layer>/st/00000.exr          float32 R, G: texel position as Nuke's STMap, bottom to top
        <layer>/st16/00000.png        the same as 16-bit R, G, 65535 for 1, within [0, 1]; for After Effects
        <layer>/lighting/00000.exr    half R, G, B: multiplier of the texture's display-referred colour
        <layer>/st_inverse/00000.exr  float32 R, G on the canvas: a texel's place in the frame, measured the same way
        <layer>/tracks/               tracks of a grid of texels: see `trackers`
        <layer>/layer.mov, .webm      the layer with straight alpha, ProRes 4444 and VP9: see `layer_videos`
        exr/00000.exr                 a frame in parts: beauty; <layer>_rgba, _matte, _lighting, _st

Frames count from 0 at the first exported one and have the source's size. The picture is Σ matte · lighting · texture.
"""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float16, Float32, UInt16

from layerloom import media
from layerloom.core.atomic import new_folder
from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size, pixel_centres, uv_to_st
from layerloom.core.progress import OnProgress, Progress, silent
from layerloom.core.records import document_text
from layerloom.data.mattes import stream_mattes
from layerloom.data.project import Project
from layerloom.export.layer_videos import VIDEOS, write_layer_videos
from layerloom.export.manifest import make_manifest
from layerloom.export.point_tracks import GridTracks
from layerloom.export.scripts import blender_script, nuke_script
from layerloom.media.layered_documents import write_document

DEFAULT_PARTS = ("textures", "mattes", "st", "lighting")
PARTS = (*DEFAULT_PARTS, "psd", "ora", "st_inverse", "st16", "tracks", "exr", "prores", "vp9", "nuke", "blender")
"""What can be asked for."""
SCRIPTS = {"nuke": ("layerloom.nk", nuke_script), "blender": ("blender_compositor.py", blender_script)}
"""Name and maker of the scripts, which read the default parts."""
PER_FRAME = {"mattes": "matte", "tracks": "tracks"} | {name: name for name in ("st", "st16", "lighting", "st_inverse")}
"""What is worked out frame by frame, and its folder."""
HALF_MAX = float(np.finfo(np.float16).max)


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
    if parts & SCRIPTS.keys():
        parts |= set(DEFAULT_PARTS)
    frames = project.source_range if frames is None else frames
    project.check_frames(frames)
    with new_folder(Path(directory)) as folder:
        manifest = make_manifest(project, frames, "st16" in parts)
        (folder / "manifest.json").write_text(document_text(manifest), encoding="utf-8")
        for part in parts & SCRIPTS.keys():
            name, make = SCRIPTS[part]
            text = make(project.layers, project.source.size, len(frames), project.source.fps)
            (folder / name).write_text(text, encoding="utf-8")
        for layer in project.layers:
            (folder / layer.name).mkdir()
            if "textures" in parts:
                media.write_image(folder / layer.name / "texture.png", media.quantise(layer.texture, 16))
            for suffix in sorted(parts & {"psd", "ora"}):
                write_document(folder / layer.name / f"texture.{suffix}", layer.texture)
        if parts & {*PER_FRAME, "exr"}:
            _export_frames(project, folder, parts, frames, tell)
        if parts & VIDEOS.keys():
            write_layer_videos(project, folder, sorted(parts & VIDEOS.keys()), frames, tell)


def _export_frames(
    project: Project, folder: Path, parts: set[str], frames: range, progress: Callable[[float], None]
) -> None:
    for layer in project.layers:
        for part in parts & PER_FRAME.keys():
            (folder / layer.name / PER_FRAME[part]).mkdir()
    if "exr" in parts:
        (folder / "exr").mkdir(exist_ok=True)  # a layer may be named so
    shares = stream_mattes(project, frames) if parts & {"mattes", "tracks", "exr"} else None
    tracks = [GridTracks(project, index) for index in range(len(project.layers))] if "tracks" in parts else []
    for number, source_frame in enumerate(frames):
        frame = project.frame_index(source_frame)
        if shares is not None:
            _export_shares(project, next(shares), frame, folder, number, parts, tracks)
        for index, layer in enumerate(project.layers):
            _export_maps(project, index, frame, folder / layer.name, number, parts)
        progress((number + 1) / len(frames))
    for layer, gathered in zip(project.layers, tracks, strict=False):
        gathered.write(folder / layer.name / "tracks")


def _export_shares(
    project: Project,
    shares: Float32[np.ndarray, "layers h w"],
    frame: int,
    folder: Path,
    number: int,
    parts: set[str],
    tracks: Sequence[GridTracks],
) -> None:
    if "mattes" in parts:
        for layer, matte in zip(project.layers, _integer_mattes(shares), strict=True):
            media.write_image(folder / layer.name / "matte" / f"{number:05d}.png", matte)
    for gathered, share in zip(tracks, shares, strict=False):
        gathered.add(frame, share)
    if "exr" in parts:
        media.write_exr_parts(folder / "exr" / f"{number:05d}.exr", _frame_layers(project, shares, frame))


def _frame_layers(project: Project, shares: Float32[np.ndarray, "layers h w"], frame: int) -> dict[str, np.ndarray]:
    """All that a frame is made of, by part name. Colours are premultiplied, so that the layers add up to the beauty."""
    beauty = np.zeros((*shares.shape[1:], 3), np.float32)
    parts: dict[str, np.ndarray] = {"beauty": beauty}
    for index, (layer, share) in enumerate(zip(project.layers, shares, strict=True)):
        uv = project.uv(index, frame)
        colour = layer.look_up(uv)
        lighting = np.clip(project.lighting(index, frame, uv=uv), 0, HALF_MAX)
        colour *= lighting * share[..., None]
        beauty += colour
        parts[f"{layer.name}_rgba"] = np.dstack([colour, share]).astype(np.float16)
        parts[f"{layer.name}_matte"] = share
        parts[f"{layer.name}_lighting"] = lighting.astype(np.float16)
        parts[f"{layer.name}_st"] = _st(uv, layer.canvas)
    return parts | {"beauty": beauty.astype(np.float16)}


def _export_maps(project: Project, index: int, frame: int, target: Path, number: int, parts: set[str]) -> None:
    canvas = project.layers[index].canvas
    if parts & {"lighting", "st", "st16"}:
        uv = project.uv(index, frame)
        if "lighting" in parts:
            lighting = np.clip(project.lighting(index, frame, uv=uv), 0, HALF_MAX)
            half: Float16[np.ndarray, "h w 3"] = lighting.astype(np.float16)
            media.write_image(target / "lighting" / f"{number:05d}.exr", half)
        if "st" in parts:
            media.write_image(target / "st" / f"{number:05d}.exr", _st(uv, canvas))
        if "st16" in parts:
            media.write_image(target / "st16" / f"{number:05d}.png", _st16(uv, canvas))
    if "st_inverse" in parts:
        xy = project.maps(index).positions(frame, pixel_centres(canvas))
        media.write_image(target / "st_inverse" / f"{number:05d}.exr", _st(xy, project.source.size))


def _st(positions: Float32[np.ndarray, "h w 2"], size: Size) -> Float32[np.ndarray, "h w 2"]:
    # In double precision: 1 − v / height must not cost the float32 its last digits.
    return uv_to_st(positions.astype(np.float64), size).astype(np.float32)


def _st16(positions: Float32[np.ndarray, "h w 2"], size: Size) -> UInt16[np.ndarray, "h w 3"]:
    """What lies beyond the canvas looks at its border, as it does where the canvas goes on with its border's colour."""
    st = np.clip(uv_to_st(positions.astype(np.float64), size), 0, 1)
    return np.pad(np.rint(65535 * st).astype(np.uint16), ((0, 0), (0, 0), (0, 1)))


def _integer_mattes(shares: Float32[np.ndarray, "layers h w"]) -> UInt16[np.ndarray, "layers h w"]:
    """Rounded to 16 bit; the layer with the largest share takes the rounding, so that the sum is exactly 65535."""
    rounded = np.rint(shares * np.float32(65535)).astype(np.int32)
    missing = 65535 - rounded.sum(0)
    largest = shares.argmax(0)[None]
    np.put_along_axis(rounded, largest, np.take_along_axis(rounded, largest, 0) + missing, 0)
    return np.clip(rounded, 0, 65535).astype(np.uint16)

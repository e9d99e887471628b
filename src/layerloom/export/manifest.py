"""manifest.json of an export: what other programs need to know of the files beside it."""

from typing import Annotated, ClassVar

from msgspec import Meta

from layerloom.core.records import Document, Frame, LayerName, Record
from layerloom.data.project import Project
from layerloom.data.project_header import Kind, Ratio, Side, Sides

FORMAT = "layerloom-export"


class ManifestLayer(Record, omit_defaults=True):
    """A layer: its folder's name, and its canvas' size in texels."""

    name: LayerName
    kind: Kind
    canvas: Sides
    st16_error_texels: tuple[float, float] | None = None
    """How far a 16-bit ST map may lead astray, along x and y."""


class Manifest(Document, tag=FORMAT):
    """Sizes are the source's, in display orientation. Layers are front to back.

    first_frame: the source's number, from 0, of the frame that is 00000 here.
    """

    WHAT: ClassVar[str] = "manifest.json"
    width: Side
    height: Side
    frames: Annotated[int, Meta(ge=1)]
    first_frame: Frame
    fps: Ratio
    layers: Annotated[tuple[ManifestLayer, ...], Meta(min_length=1)]


def make_manifest(project: Project, frames: range, has_st16: bool) -> Manifest:
    """Of an export of these frames (numbered as the source's)."""
    fps = project.source.fps
    width, height = project.source.size
    layers: list[ManifestLayer] = []
    for layer in project.layers:
        # Half a step of 65535 over the canvas, which no rounding can exceed.
        across, down = (round(side / 65535 / 2, 5) for side in layer.canvas)
        layers.append(ManifestLayer(layer.name, layer.kind, layer.canvas, (across, down) if has_st16 else None))
    ratio = f"{fps.numerator}/{fps.denominator}"
    return Manifest(width, height, len(frames), frames.start, ratio, tuple(layers))

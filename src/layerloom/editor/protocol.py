"""Messages between page and server, over the web socket. The page's types are made from these (`typescript`)."""

from typing import Annotated, Literal

from msgspec import Meta

from layerloom.core.records import LayerName, Record
from layerloom.editor.changes import EditId, PlacedEdit

OperationId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
"""Made up by the page for each request, so that it knows the answer."""


class AddEdit(Record, tag_field="type", tag="add"):
    """A new edit, last unless a place in the list is given."""

    operation: OperationId
    placed: PlacedEdit
    index: Annotated[int, Meta(ge=0)] | None = None


class ReplaceEdit(Record, tag_field="type", tag="replace"):
    """Another value for an edit."""

    operation: OperationId
    placed: PlacedEdit


class RemoveEdit(Record, tag_field="type", tag="remove"):
    """Take an edit out of the list."""

    operation: OperationId
    id: EditId


class ReorderEdit(Record, tag_field="type", tag="reorder"):
    """Another place in the list."""

    operation: OperationId
    id: EditId
    index: Annotated[int, Meta(ge=0)]


class PinCorners(Record, tag_field="type", tag="pin"):
    """Say the place of a picture or of words by its four corners, where they lie now."""

    operation: OperationId
    id: EditId


class AdjustPainted(Record, tag_field="type", tag="adjust_painted"):
    """Adjust the part of a layer that is painted on: the painting becomes the region of a new edit."""

    operation: OperationId
    id: EditId
    layer: LayerName


class Undo(Record, tag_field="type", tag="undo"):
    """Take the last change back."""

    operation: OperationId


class Redo(Record, tag_field="type", tag="redo"):
    """Make it again."""

    operation: OperationId


class PreviewEdit(Record, tag_field="type", tag="preview"):
    """Show an edit as it would be, while it is dragged: nothing is kept. Without an edit, as it is."""

    operation: OperationId
    placed: PlacedEdit | None = None


class StartExport(Record, tag_field="type", tag="export"):
    """Write the edited film as a video, or the layers for other programs."""

    operation: OperationId
    kind: Literal["video", "layers"] = "video"
    codec: Literal["h264", "hevc", "prores", "prores4444", "vp9", "ffv1"] = "h264"


class CancelJob(Record, tag_field="type", tag="cancel"):
    """Stop a long task."""

    operation: OperationId
    id: Annotated[str, Meta(max_length=64)]


Request = (
    AddEdit
    | ReplaceEdit
    | RemoveEdit
    | ReorderEdit
    | PinCorners
    | AdjustPainted
    | Undo
    | Redo
    | PreviewEdit
    | StartExport
    | CancelJob
)


class TileState(Record):
    """A tile of a painting; without a hash it is empty."""

    column: int
    row: int
    hash: str | None


class PaintingState(Record):
    """Tiles of a layer's painting that are new to the page."""

    layer: LayerName
    tiles: tuple[TileState, ...]


class LayerState(Record):
    """What the page draws of a layer beside its texture. patch: changes when the patch does; moving: by frame.

    adjustment: what is added to luma's factor, to chroma's (real, imaginary) and to the colour, all over. light: the
    power of its light. region: changes when the adjustment by texel does; 0 where it is the same all over.
    """

    layer: LayerName
    patch: int
    moving: bool
    hidden: bool
    adjustment: tuple[float, float, float, float]
    light: float
    region: int


class State(Record, tag_field="type", tag="state"):
    """Where the session stands: sent when a page connects, and to all pages after every change.

    server_draws: why the page cannot draw this by itself; empty if it can. frames: of the output.
    backdrop: changes when the new background does; 0 for none.
    """

    revision: int
    edits: tuple[PlacedEdit, ...]
    layers: tuple[LayerState, ...]
    paintings: tuple[PaintingState, ...]
    can_undo: bool
    can_redo: bool
    server_draws: str
    frames: int
    backdrop: int


class Done(Record, tag_field="type", tag="done"):
    """A request was carried out, and is on the disk."""

    operation: OperationId
    revision: int


class Failed(Record, tag_field="type", tag="failed"):
    """A request could not be carried out; nothing has changed. message: why, and what is allowed."""

    operation: OperationId
    message: str


class Job(Record, tag_field="type", tag="job"):
    """A sign of life of a long task. done: its share, in [0, 1]. result: an address to fetch, once it has ended."""

    id: str
    kind: Literal["export", "learn", "select"]
    stage: str
    done: float
    state: Literal["running", "ended", "failed", "cancelled"]
    psnr_db: float | None = None
    message: str | None = None
    result: str | None = None


Answer = State | Done | Failed | Job

"""What can be changed in an editing session: small values that can be undone, and that the journal holds."""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Annotated

from msgspec import Meta

from layerloom.core.errors import LayerloomError
from layerloom.core.records import LayerName, Record
from layerloom.edits.document import Edit

TILE_TEXELS = 256
"""Of a painted tile's side. Tiles lie on a grid over the layer's canvas, from its upper left corner."""

EditId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$", description="an edit's name (letters, digits, - and _)")]
TileHash = Annotated[
    str, Meta(pattern=r"^[0-9a-f]{64}$", description="the SHA-256 of a tile, as 64 hexadecimal digits")
]
TileIndex = Annotated[int, Meta(ge=0, le=4096)]


class PlacedEdit(Record):
    """An edit in the list, and the name that stays with it while it changes. Hidden ones count for nothing."""

    id: EditId
    edit: Edit
    enabled: bool = True


class Added(Record, tag_field="change", tag="added"):
    """An edit is new, at a place in the list."""

    index: Annotated[int, Meta(ge=0)]
    placed: PlacedEdit


class Removed(Record, tag_field="change", tag="removed"):
    """An edit is gone; it was at a place in the list."""

    index: Annotated[int, Meta(ge=0)]
    placed: PlacedEdit


class Replaced(Record, tag_field="change", tag="replaced"):
    """An edit has become another, under the same name."""

    before: PlacedEdit
    after: PlacedEdit


class Reordered(Record, tag_field="change", tag="reordered"):
    """An edit has moved in the list."""

    id: EditId
    before: Annotated[int, Meta(ge=0)]
    after: Annotated[int, Meta(ge=0)]


class TileChange(Record):
    """What a tile held, and holds; None is an empty one."""

    column: TileIndex
    row: TileIndex
    before: TileHash | None = None
    after: TileHash | None = None


class Painted(Record, tag_field="change", tag="painted"):
    """Tiles of a layer's painting have changed: one stroke."""

    layer: LayerName
    tiles: Annotated[tuple[TileChange, ...], Meta(min_length=1, max_length=65536)]


Change = Added | Removed | Replaced | Reordered | Painted


@dataclass
class EditList:
    """The edits of a session in their order, and the paintings on its layers: tiles by layer, column and row."""

    edits: list[PlacedEdit] = field(default_factory=list)
    tiles: dict[str, dict[tuple[int, int], str]] = field(default_factory=dict)

    def index_of(self, name: str) -> int:
        """LayerloomError if there is no such edit."""
        for index, placed in enumerate(self.edits):
            if placed.id == name:
                return index
        raise LayerloomError(f"edit '{name}': there is none of that name; it may have been removed meanwhile")

    def apply(self, change: Change) -> None:
        """Carry out a change. LayerloomError where it does not fit what is there; then nothing is changed."""
        match change:
            case Added(index, placed):
                if any(other.id == placed.id for other in self.edits):
                    raise LayerloomError(f"edit '{placed.id}': there is one of that name already")
                self.edits.insert(index, placed)
            case Removed(_, placed):
                del self.edits[self.index_of(placed.id)]
            case Replaced(before, after):
                self.edits[self.index_of(before.id)] = after
            case Reordered(name, _, after):
                self.edits.insert(after, self.edits.pop(self.index_of(name)))
            case Painted(layer, tiles):
                _paint(self.tiles.setdefault(layer, {}), tiles)


def inverse(change: Change) -> Change:
    """The change that takes it back."""
    match change:
        case Added(index, placed):
            return Removed(index, placed)
        case Removed(index, placed):
            return Added(index, placed)
        case Replaced(before, after):
            return Replaced(after, before)
        case Reordered(name, before, after):
            return Reordered(name, after, before)
        case Painted(layer, tiles):
            swapped = (TileChange(tile.column, tile.row, tile.after, tile.before) for tile in tiles)
            return Painted(layer, tuple(swapped))


def hashes_of(change: Change) -> set[str]:
    """The tiles that a change speaks of."""
    if not isinstance(change, Painted):
        return set()
    return {name for tile in change.tiles for name in (tile.before, tile.after) if name is not None}


def hashes_in(tiles: Mapping[str, Mapping[tuple[int, int], str]]) -> set[str]:
    """The tiles of all paintings."""
    return {name for layer in tiles.values() for name in layer.values()}


def _paint(painting: MutableMapping[tuple[int, int], str], tiles: tuple[TileChange, ...]) -> None:
    for tile in tiles:
        if tile.after is None:
            painting.pop((tile.column, tile.row), None)
        else:
            painting[tile.column, tile.row] = tile.after

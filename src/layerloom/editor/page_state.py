"""What a page is told of the session: facts of the project once, and where the session stands after every change."""

from collections.abc import Hashable, Sequence
from typing import Any

from layerloom.compose.adjust import Adjustment, ColourField
from layerloom.compose.composition import Composition
from layerloom.compose.patch import Patch
from layerloom.editor.changes import Change, Painted
from layerloom.editor.protocol import LayerState, PaintingState, State, TileState
from layerloom.editor.session import EditSession


class PageState:
    """Numbers the parts of the composition, so that pages fetch again only what has changed."""

    def __init__(self, session: EditSession) -> None:
        self._session = session
        self._numbers: dict[Hashable, tuple[object, int]] = {}
        self._last = 0

    def facts(self) -> dict[str, Any]:
        """Of the project: what never changes while it is edited."""
        project = self._session.project
        return {
            "name": project.path.name,
            "width": project.source.size[0],
            "height": project.source.size[1],
            "frames": project.source.frames,
            "first_frame": project.source.first_frame,
            "seconds": [float(time) for time in project.source.timestamps],
            "fps": float(project.source.fps),
            "source_exists": project.source_exists,
            "recovered": self._session.recovered,
            "layers": [
                {"name": layer.name, "kind": layer.kind, "canvas": list(layer.canvas)} for layer in project.layers
            ],
        }

    def state(self, changes: Sequence[Change] | None = None) -> State:
        """Where the session stands. changes: those since the last state, whose tiles alone are named; else all are."""
        session = self._session
        composition = session.composition()
        return State(
            revision=session.revision,
            edits=session.edits,
            layers=tuple(self._layer(composition, number) for number in range(len(session.project.layers))),
            paintings=_all_tiles(session) if changes is None else _tiles_of(changes),
            can_undo=session.can_undo,
            can_redo=session.can_redo,
            server_draws=_why_not(composition),
            frames=len(composition.shots.shots),
            backdrop=self._number("backdrop", composition.backdrop),
        )

    def _layer(self, composition: Composition, layer: int) -> LayerState:
        patches = composition.canvas.passes(None)[0].patches[layer]
        moving = patches is not None and not all(isinstance(part, Patch) for part in patches.parts)
        found = composition.adjustments[layer]
        values, by_texel = adjusted_all_over(found)
        return LayerState(
            layer=composition.project.layers[layer].name,
            patch=self._number(layer, patches),
            moving=moving,
            hidden=layer in composition.hidden,
            adjustment=values,
            light=1.0 if found is None else found.light,
            region=self._number(("adjusted", layer), by_texel),
        )

    def _number(self, name: Hashable, part: object | None) -> int:
        """The same as long as the part is the same object; 0 for none."""
        if part is None:
            self._numbers.pop(name, None)
            return 0
        known = self._numbers.get(name)
        if known is None or known[0] is not part:
            self._last += 1
            known = self._numbers[name] = (part, self._last)
        return known[1]


def adjusted_all_over(
    adjustment: Adjustment | None,
) -> tuple[tuple[float, float, float, float], ColourField | None]:
    """What an adjustment does to colours where that is the same all over; else nothing, and what it does by texel."""
    field = None if adjustment is None else adjustment.field
    if field is None or field.shape[:2] != (1, 1):
        return (0.0, 0.0, 0.0, 0.0), field
    luma, real, turn, added = (float(value) for value in field[0, 0])
    return (luma, real, turn, added), None


def _why_not(composition: Composition) -> str:
    """Why the page cannot draw a composition by itself; empty if it can."""
    if not composition.is_ordinary:
        return "the camera, time or place of layers is changed"
    if composition.light.unshadowed:
        return "a shadow is taken off"
    return ""


def _all_tiles(session: EditSession) -> tuple[PaintingState, ...]:
    paintings = ((layer.name, session.painted_tiles(layer.name)) for layer in session.project.layers)
    return tuple(
        PaintingState(name, tuple(TileState(column, row, held) for (column, row), held in tiles.items()))
        for name, tiles in paintings
        if tiles
    )


def _tiles_of(changes: Sequence[Change]) -> tuple[PaintingState, ...]:
    painted = (change for change in changes if isinstance(change, Painted))
    return tuple(
        PaintingState(change.layer, tuple(TileState(tile.column, tile.row, tile.after) for tile in change.tiles))
        for change in painted
    )

"""One project being edited: its edits and paintings, their history, and what the renderer makes of them."""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import RLock

from msgspec.structs import replace

from layerloom import media
from layerloom.compose.canvas_patches import pin_corners
from layerloom.compose.composition import Composition, compose
from layerloom.core.errors import LayerloomError
from layerloom.data.project import Project
from layerloom.editor.changes import (
    TILE_TEXELS,
    Added,
    Change,
    EditList,
    Painted,
    PlacedEdit,
    Removed,
    Reordered,
    Replaced,
    TileChange,
    hashes_in,
    hashes_of,
    inverse,
)
from layerloom.editor.journal import Journal, Painting, Snapshot, Step, read_journal
from layerloom.editor.tiles import Tile, TileStore
from layerloom.edits.adjust import Adjust
from layerloom.edits.canvas import Overlay, Place, Text
from layerloom.edits.document import Edit

FOLDER = "edits"
HISTORY_BYTES = 256 * 2**20
"""Of tiles on the disk that only the history still needs. Beyond it, the oldest steps can no longer be undone."""
LONGEST_JOURNAL = 2000
"""Steps after which the journal is begun anew when it is opened."""

STROKES_BETWEEN_LOOKS = 64
"""At what the history takes: looking takes as long as the history is."""

OnChange = Callable[[Change], None]


class EditSession:
    """The edits of a project. Threads may share it; changes are made one after the other, each on the disk first."""

    def __init__(self, project: Project, history_bytes: int = HISTORY_BYTES) -> None:
        """Opens the project's journal. LayerloomError if it is damaged."""
        self.project = project
        self.folder = project.path / FOLDER
        opened = read_journal(self.folder)
        self.recovered = opened.dropped
        self.tiles = TileStore(self.folder / "tiles")
        self._history_bytes = history_bytes
        self._list = EditList()
        self._done: list[Change] = []
        self._undone: list[Change] = []
        self._lock = RLock()
        self._listeners: list[OnChange] = []
        self._composition: Composition | None = None
        self._painted: Composition | None = None
        self._preview: PlacedEdit | None = None
        self.revision = 0
        self._replay(opened.lines)
        self._journal = Journal(self.folder)
        if len(opened.lines) > LONGEST_JOURNAL or not opened.lines:
            self._restart()

    @property
    def edits(self) -> tuple[PlacedEdit, ...]:
        """In their order."""
        return tuple(self._list.edits)

    @property
    def can_undo(self) -> bool:
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        return bool(self._undone)

    def painted_tiles(self, layer: str) -> dict[tuple[int, int], str]:
        """A layer's painting: names of tiles by column and row."""
        return dict(self._list.tiles.get(layer, {}))

    def listen(self, listener: OnChange) -> Callable[[], None]:
        """Tell of every change, after it is made; gives what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def add(self, placed: PlacedEdit, index: int | None = None) -> None:
        """A new edit, last if no place in the list is given. LayerloomError where it does not fit the project."""
        with self._lock:
            self._do(Added(len(self._list.edits) if index is None else index, placed))

    def remove(self, name: str) -> None:
        """LayerloomError if there is no such edit."""
        with self._lock:
            index = self._list.index_of(name)
            self._do(Removed(index, self._list.edits[index]))

    def replace(self, placed: PlacedEdit) -> None:
        """Another value for the edit of that name. LayerloomError where it does not fit the project."""
        with self._lock:
            self._do(Replaced(self._list.edits[self._list.index_of(placed.id)], placed))

    def reorder(self, name: str, index: int) -> None:
        """Another place in the list. LayerloomError if there is no such edit."""
        with self._lock:
            at = min(index, len(self._list.edits) - 1)
            self._do(Reordered(name, self._list.index_of(name), at))

    def pin(self, name: str) -> None:
        """An edit that lies somewhere has its place said by four corners. LayerloomError if there is no such edit."""
        with self._lock:
            placed = self._list.edits[self._list.index_of(name)]
            if not isinstance(placed.edit, Place | Text):
                raise LayerloomError(f"edit '{name}': only pictures, videos and words that are placed have corners")
            if placed.edit.place.corners is None:
                self.replace(replace(placed, edit=pin_corners(self.project, placed.edit)))

    def adjust_painted(self, name: str, layer: str, folder: Path) -> None:
        """The layer's painting is taken off, and what it covered is the region of a new adjustment, grey at first.

        folder: where the region's picture is kept. LayerloomError where nothing is painted.
        """
        with self._lock:
            tiles = self.painted_tiles(layer)
            if not tiles:
                raise LayerloomError(f"nothing is painted on '{layer}': paint where its colours are to change")
            canvas = self.project.layers[self.project.layer_index(layer)].canvas
            path = folder / f"{_digest(tiles)[:24]}.png"
            if not path.exists():
                media.write_image(path, self.tiles.assemble(tiles, canvas))
            self._do(Painted(layer, tuple(TileChange(*place, held, None) for place, held in sorted(tiles.items()))))
            self.add(PlacedEdit(name, Adjust(layer, saturation=0, region=path)))

    def paint(self, layer: str, tiles: Iterable[tuple[int, int, Tile]]) -> None:
        """A stroke: the tiles (column, row, pixels) that it leaves on a layer.

        LayerloomError for tiles off the canvas.
        """
        width, height = self.project.layers[self.project.layer_index(layer)].canvas
        with self._lock:
            before = self._list.tiles.get(layer, {})
            changed: list[TileChange] = []
            for column, row, tile in tiles:
                if column * TILE_TEXELS >= width or row * TILE_TEXELS >= height:
                    raise LayerloomError(
                        f"tile {column}, {row}: off the canvas of '{layer}', {width} x {height} texels"
                    )
                old, new = before.get((column, row)), self.tiles.put(tile)
                if old != new:
                    changed.append(TileChange(column, row, old, new))
            if changed:
                self._do(Painted(layer, tuple(changed)))

    def undo(self) -> bool:
        """Take the last change back; whether there was one."""
        with self._lock:
            if not self._done:
                return False
            change = inverse(self._done[-1])
            self._write("undo", change)
            self._undone.append(self._done.pop())
            self._tell(change)
            return True

    def redo(self) -> bool:
        """Make the last change that was taken back again; whether there was one."""
        with self._lock:
            if not self._undone:
                return False
            self._write("redo", self._undone[-1])
            self._done.append(self._undone.pop())
            self._tell(self._done[-1])
            return True

    def composition(self) -> Composition:
        """What the edits make of the project, without the paintings, which the page lays on by itself. Kept."""
        with self._lock:
            self._composition = self._composed(self.values())
            return self._composition

    def painted_composition(self) -> Composition:
        """What the edits and the paintings make of the project. Kept."""
        with self._lock:
            kept = self._painted or self.composition()
            self._painted = kept.with_edits(self.with_paintings())
            return self._painted

    def preview(self, placed: PlacedEdit | None) -> None:
        """Show an edit as it would be; nothing is kept. None: as it is. LayerloomError where it does not fit."""
        with self._lock:
            before, self._preview = self._preview, placed
            try:
                self.composition()
            except LayerloomError:
                self._preview = before
                raise

    def values(self) -> tuple[Edit, ...]:
        """The enabled edits as everywhere else, without the paintings."""
        shown = self._preview
        placed = (shown if shown and shown.id == placed.id else placed for placed in self._list.edits)
        return tuple(one.edit for one in placed if one.enabled)

    def with_paintings(self) -> tuple[Edit, ...]:
        """The enabled edits, then each layer's painting as an overlay of a picture that is written now."""
        with self._lock:
            overlays = (self._overlay(layer, tiles) for layer, tiles in self._list.tiles.items() if tiles)
            return (*self.values(), *overlays)

    def close(self) -> None:
        """Let go of the journal."""
        self._journal.close()

    def _overlay(self, layer: str, tiles: dict[tuple[int, int], str]) -> Overlay:
        path = self.folder / "painted" / f"{layer}-{_digest(tiles)[:16]}.png"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            canvas = self.project.layers[self.project.layer_index(layer)].canvas
            for old in path.parent.glob(f"{layer}-*.png"):
                old.unlink(missing_ok=True)
            media.write_image(path, self.tiles.assemble(tiles, canvas))
        return Overlay(layer, path)

    def _composed(self, edits: tuple[Edit, ...]) -> Composition:
        kept = self._composition
        return compose(self.project, edits) if kept is None else kept.with_edits(edits)

    def _do(self, change: Change) -> None:
        self._write("do", change)
        self._done.append(change)
        self._undone.clear()
        self._limit_history()
        self._tell(change)

    def _write(self, kind: str, change: Change) -> None:
        """Check a change, put it on the disk, and only then let it be so."""
        tried = EditList(list(self._list.edits), dict(self._list.tiles))
        if isinstance(change, Painted):
            tried.tiles[change.layer] = dict(tried.tiles.get(change.layer, {}))
        tried.apply(change)
        if not isinstance(change, Painted):
            edits = tuple(placed.edit for placed in tried.edits if placed.enabled)
            self._composition = self._composed(edits)
        self._preview = None
        self._journal.append(Step(kind, self.revision + 1, change))  # pyright: ignore[reportArgumentType]
        self._list = tried
        self.revision += 1

    def _tell(self, change: Change) -> None:
        for listener in tuple(self._listeners):
            listener(change)

    def _replay(self, lines: Iterable[Snapshot | Step]) -> None:
        for line in lines:
            if isinstance(line, Snapshot):
                self._begin(line)
                continue
            self._list.apply(line.change)
            self.revision = line.number
            if line.kind == "do":
                self._done.append(line.change)
                self._undone.clear()
            elif line.kind == "undo":
                self._undone.append(self._done.pop())
            else:
                self._done.append(self._undone.pop())

    def _begin(self, snapshot: Snapshot) -> None:
        tiles = {
            painting.layer: {(tile.column, tile.row): tile.after for tile in painting.tiles if tile.after is not None}
            for painting in snapshot.paintings
        }
        self._list = EditList(list(snapshot.edits), tiles)
        self._done, self._undone = [], []

    def _limit_history(self) -> None:
        """Forget the oldest steps where their tiles take too much."""
        if not isinstance(self._done[-1], Painted) or self.revision % STROKES_BETWEEN_LOOKS:
            return
        present = hashes_in(self._list.tiles)
        past = set[str]().union(*(hashes_of(change) for change in self._done)) - present
        if self.tiles.bytes_of(past) > self._history_bytes:
            self._done = self._done[len(self._done) // 2 :]
            self._restart()

    def _restart(self) -> None:
        """Write the journal anew: where the oldest step that can be undone begins, and the steps since."""
        start = EditList(list(self._list.edits), {layer: dict(tiles) for layer, tiles in self._list.tiles.items()})
        for change in reversed(self._done):
            start.apply(inverse(change))
        paintings = tuple(
            Painting(layer, tuple(TileChange(column, row, None, name) for (column, row), name in tiles.items()))
            for layer, tiles in start.tiles.items()
        )
        first = self.revision - len(self._done) + 1
        steps = tuple(Step("do", max(first + number, 1), change) for number, change in enumerate(self._done))
        self._journal.restart(Snapshot(tuple(start.edits), paintings), steps)
        self._undone.clear()
        needed = hashes_in(self._list.tiles).union(*(hashes_of(change) for change in self._done))
        self.tiles.keep_only(needed)


def _digest(tiles: dict[tuple[int, int], str]) -> str:
    """Names a painting after what it holds."""
    names = ",".join(f"{column} {row} {name}" for (column, row), name in sorted(tiles.items()))
    return hashlib.sha256(names.encode()).hexdigest()


def session_edits(project: Project) -> tuple[Edit, ...]:
    """The edits that a project's journal holds, paintings as overlays. LayerloomError if there is no journal."""
    if not (project.path / FOLDER / "journal.jsonl").is_file():
        raise LayerloomError(f"{project.path}: nothing was edited in it yet: it holds no journal")
    session = EditSession(project)
    try:
        return session.with_paintings()
    finally:
        session.close()

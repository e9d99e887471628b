"""What edits ask of a shot, as plain values: sorted by kind, names of layers and numbers of frames checked.

`composition` makes them from edits; `shot_list`, `timing` and `cast_shadows` carry them out. They are hashable, so that
what was worked out from one can be kept for as long as it stays the same.
"""

from dataclasses import dataclass

from layerloom.edits.shot import Camera, Duplicate, Extend, Move, Stabilize


@dataclass(frozen=True)
class Retiming:
    """A layer in its own time. frame: the project's, at which it is held; None: it runs backwards."""

    layer: int
    frame: int | None


@dataclass(frozen=True)
class ShadowPlan:
    """Layers (by number) whose shadows are taken off the background (`freed`), or stay where they are (`left`).

    hidden: objects that are taken away, and with them what they cast where that is found.
    """

    freed: frozenset[int] = frozenset()
    left: frozenset[int] = frozenset()
    hidden: frozenset[int] = frozenset()


@dataclass(frozen=True)
class ShotPlan:
    """Where objects stand, which moment layers show and where the camera is.

    moves, duplicates, cameras: in the order in which they are carried out. retimings: by layer, one each. speed: how
    many times as fast as the source. scale: of the output's frames. crop: whether the view is narrowed to what was
    seen.
    """

    moves: tuple[Move, ...] = ()
    duplicates: tuple[Duplicate, ...] = ()
    retimings: tuple[Retiming, ...] = ()
    cameras: tuple[Camera, ...] = ()
    stabilize: Stabilize | None = None
    extend: Extend | None = None
    crop: bool = False
    speed: float = 1.0
    scale: float = 1.0

    def placings(self, name: str) -> tuple[Move | None, ...]:
        """Where a layer is shown: at its own place (None) or moved from it, then its copies."""
        moves = [move for move in self.moves if move.layer == name]
        own = _together(moves) if moves else None
        return own, *(copy for copy in self.duplicates if copy.layer == name)


def _together(moves: list[Move]) -> Move:
    """One after the other, each about the layer's middle."""
    scale = 1.0
    for move in moves:
        scale *= move.scale
    return Move(
        moves[0].layer,
        sum((move.right for move in moves), 0.0),
        sum((move.down for move in moves), 0.0),
        scale,
        sum((move.rotation_degrees for move in moves), 0.0),
    )

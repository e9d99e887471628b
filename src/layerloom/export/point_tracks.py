"""Point tracks and corner pins for other programs: where a regular grid of a layer's texels is in every frame.

The grid spans the texels that were seen. Points are named row.column, 1.1 at the texture's top left.

    points.csv          point, frame, x, y, visible; source pixels from the top left, a pixel's centre at + 0.5
    points.nk           Nuke: a Tracker4; a track is disabled where it is hidden
    corner_pin.nk       Nuke: a CornerPin2D from the canvas to the frame, by the grid's corners
    corner_pin.txt      After Effects: keyframes that pin texture.png, pasted on its layer: the effect Corner Pin for
                        its corners, and the layer moved so that its pixels count as the composition's
    points/1.1.txt      After Effects: keyframes of a layer's position, where the point is seen; none if it never is

Frames count from 0 at the first exported one.
"""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from layerloom.core.geometry import Size
from layerloom.data.project import Layer, Project
from layerloom.export.scripts import nuke_name

GRID_POINTS = 5
"""Along each side of the grid."""
SEEN = 0.5
CORNERS = ((0, 0), (0, -1), (-1, 0), (-1, -1))
"""(row, column) in the grid: upper left, upper right, lower left, lower right."""

# Type, saved, width and name of the columns of Nuke's table of tracks.
_TRACKER_COLUMNS = """
5 1 20 enable e
3 1 75 name name
2 1 58 track_x track_x
2 1 58 track_y track_y
2 1 63 offset_x offset_x
2 1 63 offset_y offset_y
4 1 27 T T
4 1 27 R R
4 1 27 S S
2 0 45 error error
1 1 0 error_min error_min
1 1 0 error_max error_max
1 1 0 pattern_x pattern_x
1 1 0 pattern_y pattern_y
1 1 0 pattern_r pattern_r
1 1 0 pattern_t pattern_t
1 1 0 search_x search_x
1 1 0 search_y search_y
1 1 0 search_r search_r
1 1 0 search_t search_t
2 1 0 key_track key_track
2 1 0 key_search_x key_search_x
2 1 0 key_search_y key_search_y
2 1 0 key_search_r key_search_r
2 1 0 key_search_t key_search_t
2 1 0 key_track_x key_track_x
2 1 0 key_track_y key_track_y
2 1 0 key_track_r key_track_r
2 1 0 key_track_t key_track_t
2 1 0 key_centre_offset_x key_centre_offset_x
2 1 0 key_centre_offset_y key_centre_offset_y
""".strip().splitlines()


class GridTracks:
    """The tracks of one layer's grid, gathered frame by frame."""

    def __init__(self, project: Project, layer: int) -> None:
        self._project = project
        self._layer = layer
        self._texels = _grid(project.layers[layer])
        self._xy: list[Float32[np.ndarray, "rows columns 2"]] = []
        self._visible: list[Bool[np.ndarray, "rows columns"]] = []

    def add(self, frame: int, share: Float32[np.ndarray, "h w"]) -> None:
        """Find the points in the project's frame, of which the layer has `share`."""
        xy = self._project.maps(self._layer).positions(frame, self._texels)
        size = self._project.source.size
        inside = ((xy >= 0) & (xy < size)).all(-1)
        column, row = (np.clip(xy[..., axis], 0, size[axis] - 1).astype(int) for axis in (0, 1))
        self._xy.append(xy)
        self._visible.append(inside & (share[row, column] > 0.5))

    def write(self, folder: Path) -> None:
        """Write the files that the top of this page lists to an empty folder."""
        layer, source = self._project.layers[self._layer], self._project.source
        xy, visible = np.stack(self._xy), np.stack(self._visible)
        pinned = _pinned_corners(layer.canvas, self._texels, xy)
        texts = {
            "points.csv": _csv(xy, visible),
            "points.nk": _nuke_tracker(layer.name, xy, visible, source.size),
            "corner_pin.nk": _nuke_corner_pin(layer, self._texels, xy, source.size),
            "corner_pin.txt": _after_effects_corner_pin(pinned, layer.canvas, source.fps),
        }
        for row, column in np.ndindex(xy.shape[1:3]):
            position = _keyframes("Transform\tPosition", xy[:, row, column], visible[:, row, column])
            texts[f"points/{_name(row, column)}.txt"] = _after_effects([position], source.size, source.fps)
        (folder / "points").mkdir()
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")


def _grid(layer: Layer) -> Float32[np.ndarray, "rows columns 2"]:
    """Texel positions spread over the rectangle that holds what was seen; over all of the canvas if nothing was."""
    seen = layer.texture[..., 3] > SEEN
    width, height = layer.canvas
    columns, rows = (
        np.flatnonzero(seen.any(axis)) if seen.any() else np.arange(n) for axis, n in enumerate((width, height))
    )
    x = np.linspace(columns[0], columns[-1] + 1, GRID_POINTS, dtype=np.float32)
    y = np.linspace(rows[0], rows[-1] + 1, GRID_POINTS, dtype=np.float32)
    return np.stack(np.meshgrid(x, y), -1)


def _name(row: int, column: int) -> str:
    return f"{row + 1}.{column + 1}"


def _csv(xy: Float32[np.ndarray, "t rows columns 2"], visible: Bool[np.ndarray, "t rows columns"]) -> str:
    lines = ["point,frame,x,y,visible"]
    for row, column in np.ndindex(xy.shape[1:3]):
        for frame, (x, y) in enumerate(xy[:, row, column]):
            lines.append(f"{_name(row, column)},{frame},{x:.4f},{y:.4f},{int(visible[frame, row, column])}")
    return "\n".join(lines) + "\n"


def _curve(values: Sequence[float] | np.ndarray) -> str:
    """A value for each frame, from 0 on, as Nuke writes it."""
    return "{curve " + " ".join(f"x{frame} {value:.4f}" for frame, value in enumerate(values)) + "}"


def _switch(on: Bool[np.ndarray, "t"]) -> str:
    """1 where on, 0 where off, as steps (K)."""
    changes = [0, *(np.flatnonzero(np.diff(on)) + 1).tolist()]
    return "{curve K " + " ".join(f"x{frame} {int(on[frame])}" for frame in changes) + "}"


def _curves(points: Float32[np.ndarray, "t 2"], height: int) -> tuple[str, str]:
    """x and y of a moving point; Nuke's y goes up from the bottom."""
    return _curve(points[:, 0]), _curve(height - points[:, 1])


def _nuke_tracker(
    layer: str,
    xy: Float32[np.ndarray, "t rows columns 2"],
    visible: Bool[np.ndarray, "t rows columns"],
    size: Size,
) -> str:
    tracks: list[str] = []
    for row, column in np.ndindex(xy.shape[1:3]):
        x, y = _curves(xy[:, row, column], size[1])
        start = _switch(visible[:, row, column]), f'"{_name(row, column)}"', x, y, "{curve K x0 0}", "{curve K x0 0}"
        tracks.append("{ " + " ".join((*start, "1 0 0 {curve x0 0} 0 0 -15 -15 15 15 -10 -10 10 10", "{} " * 11)) + "}")
    columns = "\n".join(f"{{ {column} 1 }}" for column in _TRACKER_COLUMNS)
    rows = "\n".join(tracks)
    head = f"Tracker4 {{\n inputs 0\n tracks {{ {{ 1 {len(_TRACKER_COLUMNS)} {len(tracks)} }}\n"
    return f"{head}{{ {columns}\n}}\n{{\n{rows}\n}}\n}}\n name {nuke_name('Tracker', layer)}\n}}\n"


def _nuke_corner_pin(
    layer: Layer, texels: Float32[np.ndarray, "rows columns 2"], xy: Float32[np.ndarray, "t rows columns 2"], size: Size
) -> str:
    upper_left, upper_right, lower_left, lower_right = CORNERS
    lines = ["CornerPin2D {", " inputs 0"]
    for number, corner in enumerate((lower_left, lower_right, upper_right, upper_left), 1):
        x, y = _curves(xy[:, *corner], size[1])
        lines.append(f" to{number} {{{x} {y}}}")
    for number, corner in enumerate((lower_left, lower_right, upper_right, upper_left), 1):
        u, v = texels[corner]
        lines.append(f" from{number} {{{u:.4f} {layer.canvas[1] - v:.4f}}}")
    return "\n".join([*lines, f" name {nuke_name('CornerPin', layer.name)}", "}"]) + "\n"


def _keyframes(title: str, points: Float32[np.ndarray, "t 2"], where: Bool[np.ndarray, "t"]) -> str:
    """Of a property in three dimensions, at the frames `where` it is known."""
    rows = "".join(f"\t{frame}\t{x:.4f}\t{y:.4f}\t0\n" for frame, (x, y) in enumerate(points) if where[frame])
    return f"{title}\n\tFrame\tX pixels\tY pixels\tZ pixels\n{rows}"


def _effect_keyframes(title: str, points: Float32[np.ndarray, "t 2"]) -> str:
    rows = "".join(f"\t{frame}\t{x:.4f}\t{y:.4f}\n" for frame, (x, y) in enumerate(points))
    return f"{title}\n\tFrame\tX pixels\tY pixels\n{rows}"


def _pinned_corners(
    canvas: Size, texels: Float32[np.ndarray, "rows columns 2"], xy: Float32[np.ndarray, "t rows columns 2"]
) -> Float32[np.ndarray, "t 4 2"]:
    """Where the canvas' corners (in the order of CORNERS) are in each frame, by the homography that fits the grid best.

    The grid spans what was seen; what the map says beyond it is a guess.
    """
    width, height = canvas
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float32)
    pinned = np.empty((len(xy), 4, 2), np.float32)
    for frame, places in enumerate(xy):
        homography: Any = cv2.findHomography(texels.reshape(-1, 2), places.reshape(-1, 2))[0]
        if homography is None or (corners @ homography[2, :2] + homography[2, 2] <= 0).any():
            # Seen from behind, or nearly so: a plain affine map keeps them finite.
            homogeneous = np.c_[texels.reshape(-1, 2), np.ones(texels.size // 2)]
            affine = np.linalg.lstsq(homogeneous, places.reshape(-1, 2), rcond=None)[0].T
            homography = np.vstack([affine, [0, 0, 1]])
        pinned[frame] = cv2.perspectiveTransform(corners[None].astype(np.float64), homography)[0]
    return pinned


def _after_effects_corner_pin(pinned: Float32[np.ndarray, "t 4 2"], canvas: Size, fps: Fraction) -> str:
    title = "Effects\tADBE Corner Pin #1\tADBE Corner Pin-000"
    sections = [_effect_keyframes(f"{title}{number}", pinned[:, corner]) for corner, number in enumerate(range(1, 5))]
    # The effect counts in the layer's own pixels: with both at the upper left, they are the composition's.
    still, first = np.zeros((1, 2), np.float32), np.ones(1, np.bool_)
    sections += [_keyframes(f"Transform\t{name}", still, first) for name in ("Anchor Point", "Position")]
    return _after_effects(sections, canvas, fps)


def _after_effects(sections: Sequence[str], size: Size, fps: Fraction) -> str:
    facts = {
        "Units Per Second": f"{float(fps):g}" if fps.denominator == 1 else f"{float(fps):.3f}",
        "Source Width": size[0],
        "Source Height": size[1],
        "Source Pixel Aspect Ratio": 1,
        "Comp Pixel Aspect Ratio": 1,
    }
    head = "\n".join(f"\t{name}\t{value}" for name, value in facts.items())
    return "\n".join(["Adobe After Effects 8.0 Keyframe Data", "", head, "", *sections, "", "End of Keyframe Data", ""])

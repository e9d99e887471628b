"""Where texels are in frames: the inverse of the ST map, and tracks against the truth of a synthetic clip."""

import csv
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from truth_project import make_source_reference, make_truth_project, st_to_uv

from layerloom import media
from layerloom.core.geometry import pixel_centres
from layerloom.data.layer_store import BakedLayer
from layerloom.data.project import Project
from layerloom.export.export import export
from layerloom.export.scripts import nuke_name
from layerloom.synthetic.clip import SyntheticClip, make_clip

FRAMES = range(1, 4)


@pytest.fixture(scope="module")
def clip() -> SyntheticClip:
    return make_clip(size=(160, 96), frames=4, seed=1)


@pytest.fixture(scope="module")
def project(clip: SyntheticClip, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_truth_project(tmp_path_factory.mktemp("truth"), clip)


@pytest.fixture(scope="module")
def exported(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "out"
    export(project, folder, parts={"st_inverse", "tracks"}, frames=FRAMES)
    return folder


def test_the_inverse_st_map_undoes_the_st_map(project: Project, exported: Path) -> None:
    for index, layer in enumerate(project.layers):
        for number, frame in enumerate(FRAMES):
            st = media.read_image(exported / layer.name / "st_inverse" / f"{number:05d}.exr")
            assert st.dtype == np.float32 and st.shape == (layer.canvas[1], layer.canvas[0], 3)
            assert np.isfinite(st).all() and not st[..., 2].any()
            xy = st_to_uv(st[..., :2], project.source.size)
            inside = ((xy >= 0) & (xy <= project.source.size)).all(-1)
            assert inside.mean() > 0.2
            error = project.uv_at(index, frame, xy) - pixel_centres(layer.canvas)
            assert np.abs(error)[inside].max() < 0.05


def test_positions_stay_finite_where_the_map_folds(tmp_path: Path) -> None:
    """A bend far stronger than the affine part, which Newton's method cannot follow."""
    rng = np.random.default_rng(0)
    folded = BakedLayer(
        name="background",
        kind="background",
        texture=np.ones((48, 64, 4), np.float32),
        alpha=None,
        uv_affine=np.eye(3)[None, :2] * 0.01,
        uv_offset=rng.normal(0, 500, (1, 9, 9, 2)).astype(np.float32),
        lighting=np.ones((1, 2, 2, 3), np.float32),
    )
    source = make_source_reference(tmp_path / "absent.mp4", (64, 48), 1)
    project = Project.create(tmp_path / "folded.loom", source, source.size, [folded], {}, {}, {}, {})
    with np.errstate(all="ignore"):
        positions = project.maps(0).positions(0, pixel_centres((64, 48)))
    assert np.isfinite(positions).all() and np.abs(positions).max() < 1e5


def read_points(folder: Path) -> list[dict[str, str]]:
    with (folder / "points.csv").open() as file:
        return list(csv.DictReader(file))


def test_tracks_follow_the_truth(clip: SyntheticClip, project: Project, exported: Path) -> None:
    for index, layer in enumerate(project.layers):
        rows = read_points(exported / layer.name / "tracks")
        assert len(rows) == 25 * len(FRAMES)
        width, height = layer.canvas
        visible = [row for row in rows if row["visible"] == "1"]
        assert visible
        for row in visible:
            grid_row, grid_column = (int(part) - 1 for part in row["point"].split("."))
            frame, xy = FRAMES[int(row["frame"])], np.array([float(row["x"]), float(row["y"])])
            texel = np.array([[grid_column * width / 4, grid_row * height / 4]])
            assert np.abs(clip.uv_at(index, xy[None], frame) - texel).max() < 0.3
            assert clip.alpha[index, frame][int(min(xy[1], 95)), int(min(xy[0], 159))] > 0.4


def curves(text: str) -> list[list[float]]:
    """All curves of numbers with a value per frame, which count from 0."""
    found: list[list[float]] = []
    for curve in re.findall(r"\{curve ([^K}]*)\}", text):
        words = curve.split()
        assert words[::2] == [f"x{frame}" for frame in range(len(words) // 2)]
        if len(words) > 2:
            found.append([float(word) for word in words[1::2]])
    return found


def test_nuke_and_after_effects_say_the_same_as_the_table(project: Project, exported: Path) -> None:
    for layer in project.layers:
        folder = exported / layer.name / "tracks"
        points = {(row["point"], int(row["frame"])): (float(row["x"]), float(row["y"])) for row in read_points(folder)}
        tracker = (folder / "points.nk").read_text()
        assert tracker.startswith("Tracker4 {") and tracker.count("{") == tracker.count("}")
        assert "{ 1 31 25 }" in tracker and tracker.count(" 1 }\n") >= 31
        x_then_y = curves(tracker)
        names = re.findall(r'"(\d\.\d)"', tracker)
        assert len(names) == 25 and len(x_then_y) == 50
        for number, name in enumerate(names):
            for frame in range(len(FRAMES)):
                x, y = points[name, frame]
                assert x_then_y[2 * number][frame] == pytest.approx(x, abs=1e-3)
                assert x_then_y[2 * number + 1][frame] == pytest.approx(96 - y, abs=1e-3)
        pin = (folder / "corner_pin.nk").read_text()
        lower_left, lower_right, upper_right, upper_left = zip(curves(pin)[::2], curves(pin)[1::2], strict=True)
        for (x, y), name in zip(
            (lower_left, lower_right, upper_right, upper_left), ("5.1", "5.5", "1.5", "1.1"), strict=True
        ):
            assert (x[0], 96 - y[0]) == pytest.approx(points[name, 0], abs=1e-3)
        width, height = layer.canvas
        assert "from1 {0.0000 0.0000}" in pin and f"from3 {{{width:.4f} {height:.4f}}}" in pin


def test_a_track_is_off_where_it_is_hidden(exported: Path) -> None:
    hidden = 0
    for layer in ("object", "background"):
        folder = exported / layer / "tracks"
        rows = read_points(folder)
        tracker = (folder / "points.nk").read_text()
        switches = re.findall(r'\{curve K ((?:x\d+ [01] ?)+)\} "(\d\.\d)"', tracker)
        assert len(switches) == 25
        for switch, name in switches:
            words, on = switch.split(), 0
            steps = {int(words[at][1:]): int(words[at + 1]) for at in range(0, len(words), 2)}
            seen = [row["visible"] == "1" for row in rows if row["point"] == name]
            for frame, visible in enumerate(seen):
                on = steps.get(frame, on)
                assert on == visible
            keys = (folder / "points" / f"{name}.txt").read_text()
            assert "Transform\tPosition\n\tFrame\tX pixels\tY pixels\tZ pixels\n" in keys
            keyed = [int(line.split("\t")[1]) for line in keys.splitlines() if re.match(r"\t\d+\t", line)]
            assert keyed == [frame for frame, visible in enumerate(seen) if visible]
            hidden += seen.count(False)
    assert hidden > 10


def test_after_effects_pins_the_exported_picture(clip: SyntheticClip, project: Project, exported: Path) -> None:
    """texture.png, pinned by its own corners, shows what the frame shows; a bending surface is met in the main."""
    for index, layer in enumerate(project.layers):
        keys = (exported / layer.name / "tracks" / "corner_pin.txt").read_text()
        width, height = layer.canvas
        head = f"\tUnits Per Second\t24\n\tSource Width\t{width}\n\tSource Height\t{height}\n"
        assert keys.startswith(f"Adobe After Effects 8.0 Keyframe Data\n\n{head}")
        assert keys.endswith("\nEnd of Keyframe Data\n")
        for name in ("Anchor Point", "Position"):
            assert f"Transform\t{name}\n\tFrame\tX pixels\tY pixels\tZ pixels\n\t0\t0.0000\t0.0000\t0\n" in keys
        corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float32)
        for number, frame in enumerate(FRAMES):
            pinned = np.zeros((4, 2), np.float32)
            for corner in range(4):
                section = keys.split(f"ADBE Corner Pin-000{corner + 1}\n\tFrame\tX pixels\tY pixels\n")[1]
                pinned[corner] = [float(word) for word in section.splitlines()[number].split()[1:]]
            shown = cv2.warpPerspective(
                layer.texture[..., :3], _of_pixels(cv2.getPerspectiveTransform(corners, pinned)), project.source.size
            )
            there = clip.alpha[index, frame] > 0.99
            truth = clip.render(lit=False)[frame]
            difference = np.square(shown - truth)[there].mean() / np.square(truth - truth[there].mean(0))[there].mean()
            assert difference < (0.5 if layer.kind == "object" else 0.02)


def _of_pixels(homography: np.ndarray) -> np.ndarray:
    """From positions (a pixel's centre at + 0.5) to OpenCV's pixel numbers."""
    shift = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    return np.linalg.inv(shift) @ homography @ shift


def test_only_what_was_asked_for_lies_there(exported: Path) -> None:
    assert json.loads((exported / "manifest.json").read_text())["frames"] == 3
    assert {path.name for path in (exported / "object").iterdir()} == {"st_inverse", "tracks"}


def test_node_names_are_plain() -> None:
    assert nuke_name("Tracker", "horse-1.b") == "Tracker_horse_1_b"

"""The demo from end to end, at a size and a patience that test its path and not its quality."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from layerloom import media
from layerloom.cli import demo, demo_pictures
from layerloom.cli.demo import CONTENTS, MEANINGS, Demo, run_demo
from layerloom.core.errors import LayerloomError
from layerloom.core.progress import Progress
from layerloom.data.project import Project
from layerloom.train.settings import TrainSettings, settings_for

SIZE, FRAMES = (160, 90), 8
NAMES = {"object", "background"}


@pytest.fixture(scope="module")
def reports() -> list[Progress]:
    return []


@pytest.fixture(scope="module")
def made(reports: list[Progress], tmp_path_factory: pytest.TempPathFactory) -> Demo:
    def few(quality: str, device: str, seed: int = 0) -> TrainSettings:
        return replace(settings_for(quality, device, seed), steps=30, tiles=32)  # pyright: ignore

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(demo.SIZES, "cpu", (SIZE, FRAMES))
        patch.setattr("layerloom.decompose.settings_for", few)
        return run_demo(tmp_path_factory.mktemp("demo") / "out", "cpu", 0, reports.append)


def test_figures_are_there_finite_and_explained(made: Demo) -> None:
    assert json.loads(made.files["figures"].read_text()) == made.figures
    assert set(made.figures) == set(MEANINGS)
    assert set(made.figures["track_px"]) == set(made.figures["iou"]) == NAMES
    assert isinstance(made.figures["edit_identical_outside"], bool)
    values = [made.figures[name] for name in ("seconds", "psnr", "edit_psnr_inside")]
    values += [*made.figures["track_px"].values(), *made.figures["iou"].values()]
    assert all(math.isfinite(value) for value in values)


def test_even_a_moment_of_learning_finds_the_layers(made: Demo) -> None:
    """The motion prior and the masks alone bring that much."""
    assert made.figures["psnr"] > 15
    assert max(made.figures["track_px"].values()) < 5
    assert min(made.figures["iou"].values()) > 0.8


def test_every_file_it_names_is_there(made: Demo) -> None:
    assert all(path.exists() for path in made.files.values())
    assert set(made.files) == set(CONTENTS)
    for name in ("clip", "edited", "painted"):
        found = media.probe(made.files[name])
        assert (found.size, found.frames) == (SIZE, FRAMES)
    assert {layer.name for layer in Project.open(made.files["project"]).layers} == NAMES
    assert (made.files["export"] / "manifest.json").is_file()


def test_the_overview_shows_edits(made: Demo) -> None:
    overview = media.read_image(made.files["overview"])
    clip, edited, painted = np.split(overview, 3)
    assert overview.shape[1] == 3 * SIZE[0]
    assert (clip[demo_pictures.CAPTION_ROWS :] != edited[demo_pictures.CAPTION_ROWS :]).any()
    assert (clip[demo_pictures.CAPTION_ROWS :] != painted[demo_pictures.CAPTION_ROWS :]).any()


def test_it_shows_signs_of_life(made: Demo, reports: list[Progress]) -> None:
    stages = list(dict.fromkeys(report.stage for report in reports))
    assert stages == ["read", "flow", "masks", "motion", "train", "bake", "store", "export", "render", "measure"]
    assert all(0 <= report.done <= 1 for report in reports)


def test_badges_stay_within_their_radius() -> None:
    centre, radius = (40.0, 30.0), 18.0
    _, cover = demo_pictures.badge(SIZE, centre, radius, "word")
    rows, columns = np.nonzero(cover)
    assert np.hypot(columns + 0.5 - centre[0], rows + 0.5 - centre[1]).max() < radius + 1.5
    assert cover[30, 40] == 1


def test_it_fills_no_folder_that_holds_something(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LayerloomError, match="not empty"):
        run_demo(tmp_path, "cpu")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]

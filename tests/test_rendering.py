"""The back ends against the definition, and the definition against known answers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from truth_project import make_truth_project

from layerloom import media
from layerloom.edits import BackgroundEdit, Edit, HideEdit, OverlayEdit, PaintEdit
from layerloom.mattes import own_alphas
from layerloom.project import Project
from layerloom.render import Mode, frames_of, render, render_shots
from layerloom.rendering import definition
from layerloom.rendering.scene import Inputs, Scene
from layerloom.staging import Instance, Shot, still_shot
from layerloom.synthetic import SyntheticClip, make_clip

SIZE = (240, 136)
FRAMES = 4


@pytest.fixture(scope="module")
def clip() -> SyntheticClip:
    return make_clip(size=SIZE, frames=FRAMES, objects=2, seed=5)


@pytest.fixture(scope="module")
def project(clip: SyntheticClip, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_truth_project(tmp_path_factory.mktemp("truth"), clip)


@pytest.fixture(scope="module")
def edits(project: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sequence[Edit]]:
    """Sets of edits, each with something that the others lack."""
    folder = tmp_path_factory.mktemp("edits")
    overlays: list[Edit] = []
    for index, layer in enumerate(project.layers):
        width, height = layer.canvas
        image = np.zeros((height, width, 4), np.uint8)
        image[height // 4 : height // 2, width // 4 : 3 * width // 4] = (200, 40 + 90 * index, 60, 255 - 90 * index)
        media.write_image(folder / f"{layer.name}.png", image)
        overlays.append(OverlayEdit(layer.name, folder / f"{layer.name}.png"))
    paint = np.zeros((SIZE[1], SIZE[0], 4), np.uint8)
    paint[40:90, 60:200] = (20, 200, 90, 200)
    media.write_image(folder / "paint.png", paint)
    painted = PaintEdit(1, folder / "paint.png")
    front = project.layers[0].name
    return {
        "none": [],
        "overlays": overlays,
        "paint": [*overlays[:2], painted, *overlays[2:]],
        "hide": [*overlays, HideEdit(front)],
        "no background": [*overlays, HideEdit("background")],
        "backdrop": [*overlays, BackgroundEdit("#3366cc")],
        "all": [*overlays, painted, HideEdit(front), BackgroundEdit(folder / "paint.png")],
    }


def by_definition(project: Project, edits: Sequence[Edit], shot: Shot, mode: Mode) -> np.ndarray:
    source = None
    if mode == "detail" and shot.source_number is not None:
        source = next(project.read_source(range(shot.source_number, shot.source_number + 1)))
    alphas = {frame: own_alphas(project, frame) for frame in frames_of(shot)}
    inputs = Inputs(source, alphas, project.source_bit_depth)
    return definition.render_shot(Scene(project, edits), shot, inputs, torch.device("cpu"))


def assert_agree(actual: np.ndarray, expected: np.ndarray) -> None:
    """Within 1/255 at 99.9 % of the pixels."""
    assert actual.shape == expected.shape and actual.dtype == expected.dtype
    difference = np.abs(media.to_float(actual) - media.to_float(expected)).max(-1)
    assert (difference < 1.01 / 255).mean() >= 0.999, np.quantile(difference, [0.9, 0.99, 0.999, 1])


@pytest.mark.parametrize("mode", ["detail", "synthesis"])
@pytest.mark.parametrize("case", ["none", "overlays", "paint", "hide", "no background", "backdrop", "all"])
def test_an_ordinary_frame_is_what_the_definition_says(
    project: Project, edits: dict[str, Sequence[Edit]], case: str, mode: Mode
) -> None:
    rendered = next(render(project, edits[case], range(1, 2), mode))
    assert_agree(rendered, by_definition(project, edits[case], still_shot(project, 1), mode))


def test_a_frame_between_two_shows_the_truth_between_them(tmp_path: Path) -> None:
    size, frames, seed = (160, 90), 12, 5
    project = make_truth_project(tmp_path, make_clip(size=size, frames=frames, seed=seed))
    middle = media.to_float(make_clip(size=size, frames=2 * frames - 1, seed=seed).frames[11])
    shots = [Shot(size, (Instance(0, time), Instance(1, time))) for time in (5.0, 5.5)]
    still, between = (media.to_float(picture) for picture in render_shots(project, [], shots))
    assert np.square(between - middle).mean() < 0.02 * np.square(still - middle).mean()
    assert -10 * np.log10(np.square(between - middle).mean()) > 35

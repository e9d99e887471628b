"""The back ends against the definition, and the definition against known answers."""

import dataclasses
from collections.abc import Sequence
from functools import cache, partial
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
from layerloom.rendering.detail import DetailMaps
from layerloom.rendering.scene import Inputs, Scene
from layerloom.staging import Instance, Shot, is_still, shows_a_picture, still_shot
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
    overlays: list[OverlayEdit] = []
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
        "multiply": [dataclasses.replace(edit, blend="multiply") for edit in overlays],
        "none": [],
        "overlays": overlays,
        "paint": [*overlays[:2], painted, *overlays[2:]],
        "hide": [*overlays, HideEdit(front)],
        "no background": [*overlays, HideEdit("background")],
        "backdrop": [*overlays, BackgroundEdit("#3366cc")],
        "all": [*overlays, painted, HideEdit(front), BackgroundEdit(folder / "paint.png")],
    }


def inputs_of(project: Project, shot: Shot, mode: Mode) -> Inputs:
    """What `render` reads for a shot."""
    alphas = cache(partial(own_alphas, project))
    if mode == "synthesis":
        return Inputs(None, alphas, 8)
    pictures = {frame: next(project.read_source(range(frame, frame + 1))) for frame in frames_of(shot)}
    if is_still(project, shot):
        return Inputs(pictures[frames_of(shot)[0]], alphas, 8)
    maps, apart = DetailMaps(project), not shows_a_picture(shot, len(project.layers))
    details = {
        (layer, frame): detail
        for frame, picture in pictures.items()
        for layer, detail in enumerate(maps.of_frame(frame, picture, alphas(frame), apart))
    }
    return Inputs(None, alphas, 8, details)


def by_definition(project: Project, edits: Sequence[Edit], shot: Shot, mode: Mode) -> np.ndarray:
    return definition.render_shot(Scene(project, edits), shot, inputs_of(project, shot, mode), torch.device("cpu"))


def assert_agree(actual: np.ndarray, expected: np.ndarray) -> None:
    """Within 1/255 at 99.9 % of the pixels."""
    assert actual.shape == expected.shape and actual.dtype == expected.dtype
    difference = np.abs(media.to_float(actual) - media.to_float(expected)).max(-1)
    assert (difference < 1.01 / 255).mean() >= 0.999, np.quantile(difference, [0.9, 0.99, 0.999, 1])


@pytest.mark.parametrize("mode", ["detail", "synthesis"])
@pytest.mark.parametrize("case", ["none", "overlays", "multiply", "paint", "hide", "no background", "backdrop", "all"])
def test_an_ordinary_frame_is_what_the_definition_says(
    project: Project, edits: dict[str, Sequence[Edit]], case: str, mode: Mode
) -> None:
    rendered = next(render(project, edits[case], range(1, 2), mode))
    assert_agree(rendered, by_definition(project, edits[case], still_shot(project, 1), mode))


def moved_shots() -> list[Shot]:
    """A turned, tilted and wider view; a layer twice, small and large; times between frames."""
    tilted = np.array([[0.9, 0.1, -8.0], [-0.06, 1.1, -5.0], [3e-4, 2e-4, 1.0]])
    small, large = np.diag([2.7, 2.4, 1.0]), np.diag([0.4, 0.5, 1.0])
    twice = (Instance(0, 1.0, small), Instance(1, 2.0), Instance(0, 2.25, large), Instance(2, 1.0, tilted))
    return [
        Shot((250, 150), tuple(Instance(layer, 1.0, tilted) for layer in range(3)), 1, tilted),
        Shot(SIZE, tuple(Instance(layer, 1.4) for layer in range(3))),
        Shot((200, 140), twice),
    ]


@pytest.mark.parametrize("mode", ["detail", "synthesis"])
@pytest.mark.parametrize("case", ["none", "multiply", "paint", "all"])
def test_any_shot_is_what_the_definition_says(
    project: Project, edits: dict[str, Sequence[Edit]], case: str, mode: Mode
) -> None:
    shots = moved_shots()
    for shot, rendered in zip(shots, render_shots(project, edits[case], shots, mode), strict=True):
        assert_agree(rendered, by_definition(project, edits[case], shot, mode))


def test_a_frame_between_two_shows_the_truth_between_them(tmp_path: Path) -> None:
    size, frames, seed = (160, 90), 12, 5
    project = make_truth_project(tmp_path, make_clip(size=size, frames=frames, seed=seed))
    middle = media.to_float(make_clip(size=size, frames=2 * frames - 1, seed=seed).frames[11])
    shots = [Shot(size, (Instance(0, time), Instance(1, time))) for time in (5.0, 5.5)]
    still, between = (media.to_float(picture) for picture in render_shots(project, [], shots))
    assert np.square(between - middle).mean() < 0.02 * np.square(still - middle).mean()
    assert -10 * np.log10(np.square(between - middle).mean()) > 35

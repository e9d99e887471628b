"""How much of a light is the texture's: exact light, and light spoiled by a known amount."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from truth_project import make_truth_project

from layerloom.data.project import Project
from layerloom.evaluate import light
from layerloom.evaluate.evaluate import evaluate
from layerloom.synthetic.clip import SyntheticClip, make_clip

EVERYWHERE = np.ones((180, 320), np.bool_)


@pytest.fixture(scope="module")
def clip() -> SyntheticClip:
    return make_clip((320, 180), 4, seed=1)


@pytest.fixture(scope="module")
def project(clip: SyntheticClip, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_truth_project(tmp_path_factory.mktemp("light"), clip)


def _texture(clip: SyntheticClip) -> np.ndarray:
    return light.log_luma(clip.render(lit=False)[1])


def test_a_slope_is_how_much_one_changes_with_the_other() -> None:
    true = np.random.default_rng(0).normal(size=500)
    assert light.slope(0.6 * true + 2, true) == pytest.approx(0.6)
    assert np.isnan(light.slope(true, np.ones(500)))


def test_a_shadow_is_fine_but_does_not_follow_the_texture(clip: SyntheticClip) -> None:
    columns = np.arange(320, dtype=np.float32)
    shadow = np.broadcast_to(-0.5 / (1 + np.exp(-(columns - 160) / 3)), (180, 320)).astype(np.float32)
    found = light.follows(shadow, _texture(clip), EVERYWHERE)
    assert found.pixels == EVERYWHERE.size and found.rms > 0.02 and found.share < 0.1


@pytest.mark.parametrize(
    ("spoil", "least"),
    [
        (lambda texture: np.roll(texture, 1, 1) - texture, 0.4),
        (lambda texture: cv2.GaussianBlur(np.roll(texture, 1, 1) - texture, (0, 0), 3), 0.35),
        (lambda texture: -0.2 * cv2.GaussianBlur(texture, (0, 0), 3), 0.75),
    ],
    ids=["displaced", "displaced and smooth", "what the texture lacks"],
)
def test_what_is_the_textures_is_found(
    spoil: Callable[[np.ndarray], np.ndarray], least: float, clip: SyntheticClip
) -> None:
    texture = _texture(clip)
    assert light.follows(spoil(texture), texture, EVERYWHERE).share > least


def test_what_lies_elsewhere_does_not_count(clip: SyntheticClip) -> None:
    texture, where = _texture(clip), EVERYWHERE.copy()
    where[:, :150] = False
    spoiled = np.zeros_like(texture)
    spoiled[:, :150] = texture[:, :150]
    found = light.follows(spoiled, texture, where)
    assert found.pixels == where.sum() and found.rms == 0 and np.isnan(found.share)
    assert light.follows(texture, texture, ~EVERYWHERE) == light.Followed()


def test_a_card_shows_the_texture_through_light_that_holds_it(
    clip: SyntheticClip, project: Project, tmp_path: Path
) -> None:
    """The exact light of the background against one that holds a fifth of what its texture shows."""
    exact = evaluate(project).to_json()["light"]
    spoiled = make_truth_project(tmp_path, clip)
    layer = spoiled.layers[1]
    height, width = layer.lighting_grid(0).shape[:2]
    luma = cv2.GaussianBlur(cv2.cvtColor(layer.texture[..., :3], cv2.COLOR_RGB2GRAY), (0, 0), 3)
    pattern = (cv2.resize(luma, (width, height), interpolation=cv2.INTER_AREA) ** -0.2)[..., None]
    grids = [layer.lighting_grid(frame) * pattern for frame in range(len(clip.frames))]
    found = evaluate(spoiled.with_lighting(1, np.stack(grids).astype(np.float32))).to_json()["light"]
    assert exact["background"]["ghost_levels"] < 1 < 2 < found["background"]["ghost_levels"]
    assert exact["background"]["follows_texture"] < 0.1 < 0.25 < found["background"]["follows_texture"]
    assert found["object"]["ghost_levels"] == pytest.approx(exact["object"]["ghost_levels"], abs=0.1)

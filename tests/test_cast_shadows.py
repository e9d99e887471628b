"""Shadows that go along with moved objects: what is found, taken off, and laid on elsewhere."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from truth_project import make_truth_project

from layerloom.compose.cast_shadows import find_shadow
from layerloom.compose.composition import compose
from layerloom.compose.shadows import background_light, shares_at_nodes
from layerloom.data.project import Project
from layerloom.edits.shot import Duplicate, Freeze, LeaveShadow, Move, Unshadow
from layerloom.synthetic.clip import make_clip

SHADOW = 0.6


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A still camera, and light that is 1 at all times."""
    clip = make_clip(size=(320, 180), frames=10, seed=2, camera=0.0)
    project = make_truth_project(tmp_path_factory.mktemp("truth"), clip)
    return project.with_lighting(1, np.ones_like(background_light(project)))


@pytest.fixture(scope="module")
def shaded(plain: Project) -> Project:
    """The same with a shadow on the lower half of the object's surroundings."""
    light = background_light(plain)
    shares, inside = shares_at_nodes(plain, {0}, light.shape[2:0:-1])
    for grid, share in zip(light, shares * inside, strict=True):
        rows = np.nonzero(share.any(1))[0]
        grid[(rows[0] + rows[-1]) // 2 :][share[(rows[0] + rows[-1]) // 2 :] > 0.5] = SHADOW
    return plain.with_lighting(1, light)


def test_a_shadow_is_found_where_there_is_one(plain: Project, shaded: Project) -> None:
    assert find_shadow(plain, 0) is None
    shadow = find_shadow(shaded, 0)
    assert shadow is not None and shadow.max() == 1
    assert 0.5 < shadow.min() < 0.8


def test_light_that_flickers_as_a_whole_is_no_shadow(plain: Project) -> None:
    flicker = np.linspace(0.7, 1.2, plain.source.frames, dtype=np.float32)[:, None, None, None]
    assert find_shadow(plain.with_lighting(1, background_light(plain) * flicker), 0) is None


def test_a_moved_shadow_leaves_its_place_and_falls_on_another(shaded: Project) -> None:
    relit = compose(shaded, [Move("object", 60.0)]).light
    assert relit.unshadowed == {0}
    before, after = background_light(shaded)[5, ..., 0], background_light(relit.project)[5, ..., 0]
    nodes_a_pixel = (before.shape[1] - 1) / shaded.layers[1].canvas[0] * shaded.layers[1].uv_affine[0, 0, 0]
    there = np.array([[1, 0, 60 * nodes_a_pixel], [0, 1, 0]], np.float32)
    expected = cv2.warpAffine(before, there, before.shape[::-1], borderValue=1)
    dark = cv2.erode((expected < 0.7).astype(np.uint8), np.ones((3, 3))) > 0
    assert dark.sum() > 20
    assert np.median(after[dark]) < 0.8
    gone = (before < 0.7) & (expected == 1)
    assert (after[gone] > 0.95).mean() > 0.5  # the rest is never seen without the object


def test_a_copy_casts_a_second_shadow(shaded: Project) -> None:
    relit = compose(shaded, [Duplicate("object", 60.0)]).light
    before, after = background_light(shaded), background_light(relit.project)
    assert not relit.unshadowed
    assert (after <= before + 1e-6).all() and (after < before - 0.1).any()


def test_a_shadow_stays_or_goes_where_edits_say_so(shaded: Project) -> None:
    move = Move("object", 60.0)
    for staying in (LeaveShadow("object"), Freeze("object", 3), Freeze("background", 3)):
        relit = compose(shaded, [move, staying]).light
        assert relit.project is shaded and not relit.unshadowed
    free = compose(shaded, [move, Unshadow("object")]).light
    assert free.unshadowed == {0}
    assert (background_light(free.project) >= background_light(shaded) - 1e-6).all()


def test_an_object_without_a_shadow_leaves_the_light_alone(plain: Project, tmp_path: Path) -> None:
    assert compose(plain, [Move("object", 60.0)]).light.project is plain
    assert compose(plain, []).light.project is plain

"""Shadows that go along with moved objects: what is found, taken off, and laid on elsewhere."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from truth_project import make_truth_project

from layerloom import media
from layerloom.compose.cast_shadows import find_shadow
from layerloom.compose.composition import compose
from layerloom.compose.shadows import background_light, shadow_share, shares_at_nodes
from layerloom.core.geometry import pixel_centres
from layerloom.data.project import Project
from layerloom.edits.document import Hide
from layerloom.edits.shot import Duplicate, Freeze, LeaveShadow, Move, Unshadow
from layerloom.evaluate.measures import psnr
from layerloom.render.stream import render
from layerloom.synthetic.clip import make_clip
from layerloom.synthetic.scene import LOG_SHADOW, Conditions

SHADOW = 0.6


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A still camera, and light that is 1 at all times."""
    clip = make_clip(size=(320, 180), frames=10, seed=2, conditions=Conditions(camera=0.0))
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


def test_what_a_hidden_object_casts_goes_with_it(shaded: Project) -> None:
    relit = compose(shaded, [Hide("object")]).light
    assert relit.hidden == {0} and not relit.unshadowed
    shares, inside = shares_at_nodes(shaded, {0}, background_light(shaded).shape[2:0:-1])
    seen_elsewhere = (inside & (shares == 0)).any(0) & inside
    light = background_light(relit.project)[seen_elsewhere]
    assert np.abs(light - 1).max() < 1e-5
    left = compose(shaded, [Hide("object"), LeaveShadow("object")]).light
    assert not left.hidden and left.project is shaded


def test_the_time_of_day_stays_where_a_shadow_goes(shaded: Project) -> None:
    """Light of other times takes the place of a shadow, at the level of this one."""
    flicker = np.linspace(0.7, 1.2, shaded.source.frames, dtype=np.float32)[:, None, None, None]
    flickering = shaded.with_lighting(1, background_light(shaded) * flicker)
    relit = compose(flickering, [Hide("object")]).light
    shares, inside = shares_at_nodes(shaded, {0}, background_light(shaded).shape[2:0:-1])
    for there, light, level in zip(
        (inside & (shares == 0)).any(0) & inside, background_light(relit.project), flicker.ravel(), strict=True
    ):
        assert np.abs(light[there] - level).max() < 1e-4


def test_a_hidden_object_leaves_a_clean_plate(tmp_path: Path) -> None:
    """Against the true background without the object's shadow, where a frame saw it without: no scar is left."""
    clip = make_clip(size=(320, 180), frames=10, seed=2, conditions=Conditions(camera=0.0))
    project = make_truth_project(tmp_path, clip)
    xy = pixel_centres(clip.size).astype(np.float64)
    shadow = [clip.scene._shadow(xy, frame / 9) for frame in range(10)]  # pyright: ignore[reportPrivateUsage]
    shares = [shadow_share(project, {0}, frame) for frame in range(10)]
    seen = np.any([(dark < 0.01) & (share == 0) for dark, share in zip(shadow, shares, strict=True)], 0)
    free = clip.lighting[1] * np.exp(LOG_SHADOW * np.stack(shadow))[..., None]
    truth = replace(
        clip,
        lighting=np.stack([clip.lighting[0], free.astype(np.float32)]),
        alpha=np.stack([0 * clip.alpha[0], np.ones_like(clip.alpha[0])]),
    ).render()
    shots = (render(project, [Hide("object"), *more]) for more in ([], [LeaveShadow("object")]))
    found: list[tuple[float, float]] = []
    for frame, pair in enumerate(zip(*shots, strict=True)):
        there = seen & (shadow[frame] > 0.3) & (shares[frame] > 0)
        assert there.sum() > 300
        free_db, scarred_db = (psnr(media.to_float(shot.image), truth[frame], there) for shot in pair)
        assert free_db > scarred_db + 3
        found.append((free_db, scarred_db))
    # A light passes meanwhile, which is known around the shadow alone.
    free_db, scarred_db = np.median(found, 0)
    assert free_db > 26 and scarred_db < 18


def test_what_lies_beyond_a_hidden_shadow_is_the_sources(tmp_path: Path) -> None:
    clip = make_clip(size=(320, 180), frames=10, seed=2, conditions=Conditions(camera=0.0))
    project = make_truth_project(tmp_path, clip)
    for frame, shot in enumerate(render(project, [Hide("object")])):
        away = shadow_share(project, {0}, frame) == 0
        away = cv2.erode(away.astype(np.uint8), np.ones((15, 15))) > 0
        assert away.sum() > 10_000
        np.testing.assert_array_equal(shot.image[away], clip.frames[frame][away])

"""The truth that everything else is measured against must be exact itself."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerloom.core.geometry import pixel_centres
from layerloom.evaluate import measures
from layerloom.synthetic.clip import SyntheticClip, make_clip
from layerloom.synthetic.scene import STRONG_LIGHT, Conditions, Light
from layerloom.synthetic.textures import sample_texture

SIZE = (96, 64)


@cache
def small_clip() -> SyntheticClip:
    return make_clip(SIZE, 8, seed=3)


@pytest.fixture
def clip() -> SyntheticClip:
    return small_clip()


@pytest.fixture(scope="module")
def crossing() -> SyntheticClip:
    return make_clip(SIZE, 9, seed=1, objects=2)


def test_same_seed_gives_the_same_bytes_and_another_seed_others(clip: SyntheticClip) -> None:
    again, other = make_clip(SIZE, 8, seed=3), make_clip(SIZE, 8, seed=4)
    assert again.frames.tobytes() == clip.frames.tobytes()
    assert again.uv.tobytes() == clip.uv.tobytes()
    assert np.abs(other.frames.astype(int) - clip.frames).mean() > 5


def test_frames_are_the_model_equation_of_the_truth(clip: SyntheticClip) -> None:
    picture = np.zeros(clip.frames.shape)
    for layer, texture in enumerate(clip.textures):
        looked_up = sample_texture(texture, clip.uv[layer].reshape(-1, 2)).reshape(clip.frames.shape)
        picture += clip.alpha[layer][..., None] * looked_up * clip.lighting[layer]
    assert np.abs(picture * 255 - clip.frames).max() <= 0.51
    assert picture.min() > 0 and picture.max() < 1


@pytest.mark.parametrize("objects", [0, 1, 2])
def test_alphas_sum_to_one_and_every_layer_is_seen(objects: int) -> None:
    clip = make_clip((64, 48), 4, objects=objects)
    assert clip.names[-1] == "background" and len(clip.names) == objects + 1
    np.testing.assert_allclose(clip.alpha.sum(0), 1.0, atol=1e-6)
    assert (clip.alpha.mean((1, 2, 3)) > 0.05).all()
    assert clip.masks.shape == (objects, 4, 48, 64)


def test_textures_cover_all_that_is_seen(crossing: SyntheticClip) -> None:
    for layer, texture in enumerate(crossing.textures):
        seen = crossing.uv[layer][crossing.alpha[layer] > 0]
        assert seen.min() > 2.0
        assert (seen.max(0) < np.array(texture.shape[1::-1]) - 2.0).all()


def test_first_object_hides_the_second_where_they_cross(crossing: SyntheticClip) -> None:
    own = crossing.scene.own_alpha(1, crossing.uv[1].astype(np.float64))
    hidden = (own > 0.99) & (crossing.alpha[0] > 0.99)
    assert hidden.any()
    assert crossing.alpha[1][hidden].max() < 0.02


def test_camera_and_object_move_as_far_as_promised() -> None:
    clip = make_clip((320, 180), 3, seed=0)
    moved = clip.uv[-1, -1, 90, 160] - clip.uv[-1, 0, 90, 160]
    assert 0.15 * 320 < abs(moved[0]) < 0.25 * 320
    still = make_clip((64, 48), 4, conditions=Conditions(camera=0.0))
    np.testing.assert_allclose(still.uv[-1, 0], still.uv[-1, -1], atol=1e-4)


def test_the_object_moves_non_rigidly(clip: SyntheticClip) -> None:
    """No similarity explains its motion between two frames, while one explains the background's."""
    residual: list[float] = []
    for layer in (0, 1):
        seen = (clip.alpha[0, 0] > 0.99) if layer == 0 else (clip.alpha[1, 0] > 0.99)
        start = pixel_centres(clip.size)[seen].astype(np.float64)
        end = clip.find_uv(layer, clip.uv_at(layer, start, 0), 3)
        design = np.c_[start, np.ones(len(start))]
        fitted = design @ np.linalg.lstsq(design, end, rcond=None)[0]
        residual.append(float(np.abs(fitted - end).max()))
    assert residual[0] > 0.5
    assert residual[1] < 1e-9


def test_no_light_means_no_lighting_and_light_stays_in_its_range() -> None:
    dark, lit = make_clip((64, 48), 4, conditions=Conditions(Light(0.0))), make_clip((64, 48), 4)
    assert (dark.lighting == 1).all()
    np.testing.assert_array_equal(dark.render(), dark.render(lit=False))
    objects = np.log(lit.lighting[0])
    assert 0.15 < np.abs(objects).max() <= 0.36
    red, blue = np.log(lit.lighting[..., 0]), np.log(lit.lighting[..., 2])
    assert np.abs(red - blue).max() > 0.1, "the light must be tinted"


def test_shadow_is_in_the_lighting_of_the_background_alone(clip: SyntheticClip) -> None:
    log_light = np.log(clip.lighting.mean(-1))
    darker = log_light[-1] - log_light[0]
    assert darker.min() < -0.35
    assert np.abs(np.diff(log_light[-1], axis=-1)).max() < 0.15, "the shadow is soft"


def test_an_edited_texture_changes_what_shows_it_and_nothing_else(clip: SyntheticClip) -> None:
    edited = clip.textures[0].copy()
    edited[10:20, 10:20] = (0.1, 0.5, 0.2)
    before, after = clip.render(), clip.render([edited, clip.textures[1]])
    changed = np.abs(after - before).max(-1) > 0
    assert changed.any()
    assert (clip.alpha[0][changed] > 0).all()
    uv = clip.uv[0][changed]
    assert (uv.min(0) >= 8).all() and (uv.max(0) <= 22).all()


@settings(max_examples=25, deadline=None)
@given(frame=st.integers(0, 7), other=st.integers(0, 7), layer=st.integers(0, 1), seed=st.integers(0, 99))
def test_finding_texels_inverts_the_map(frame: int, other: int, layer: int, seed: int) -> None:
    clip = small_clip()
    rows, columns = np.nonzero(clip.alpha[layer, frame] > 0.9)
    pick = np.random.default_rng(seed).integers(0, len(rows), 5)
    start = np.stack([columns[pick], rows[pick]], -1) + 0.25
    texels = clip.uv_at(layer, start, frame)
    there = clip.find_uv(layer, texels, other)
    np.testing.assert_allclose(clip.uv_at(layer, there, other), texels, atol=1e-8)
    np.testing.assert_allclose(clip.find_uv(layer, texels, frame), start, atol=1e-8)


def test_tracks_follow_the_texture_and_know_when_it_is_hidden(crossing: SyntheticClip) -> None:
    rows, columns = np.nonzero(crossing.alpha[1, 0] > 0.99)
    start = np.stack([columns, rows], -1) + 0.5
    xy, seen = crossing.tracks(1, start, 0)
    np.testing.assert_allclose(xy[0], start, atol=1e-8)
    assert seen[0].all()
    assert not seen.all(), "the front object passes before it"
    unlit = crossing.render(lit=False)
    for frame in range(1, len(xy)):
        column, row = np.round(xy[frame] - 0.5).astype(int).T
        near = seen[frame] & (np.abs(xy[frame] - 0.5 - np.stack([column, row], -1)).max(-1) < 0.1)
        near &= crossing.alpha[1, frame, row.clip(0, 63), column.clip(0, 95)] > 0.99
        then = unlit[frame, row[near], column[near]]
        assert np.abs(then - unlit[0, rows[near], columns[near]]).mean() < 0.06


def test_outlines_are_as_soft_as_asked_for_and_nothing_else_changes() -> None:
    sharp, soft = (make_clip((96, 64), 2, conditions=Conditions(edge=edge)) for edge in (2.4, 9.0))
    np.testing.assert_array_equal(sharp.uv[1], soft.uv[1])
    widths = [measures.ramp_px(clip.alpha[0, 0]) for clip in (sharp, soft)]
    assert widths[1] / widths[0] == pytest.approx(9.0 / 2.4, rel=0.05) and 1.5 < widths[0] < 2.4


def test_strong_light_flickers_is_tinted_and_darkens_the_ground() -> None:
    clip = make_clip((160, 96), 13, seed=1, conditions=Conditions(STRONG_LIGHT))
    frames = np.log(clip.lighting[-1]).mean((1, 2))
    swing = frames[1::4].mean(0) - frames[3::4].mean(0)
    assert (swing > 0.2).all() and (swing < 0.4).all(), "flicker of 0.15 each way"
    assert clip.frames.max() < 255
    dark = clip.contact_shadow(6)
    assert dark.max() > 0.9 and 0.01 < (dark > 0.5).mean() < 0.2


def test_the_clean_plate_is_the_frame_where_nothing_was_in_the_way() -> None:
    clip = make_clip((160, 96), 4, seed=1, conditions=Conditions(STRONG_LIGHT))
    plate, frame = clip.clean_plate(2), clip.render()[2]
    bare = (clip.alpha[-1, 2] == 1) & (clip.contact_shadow(2) == 0)
    shaded = (clip.alpha[-1, 2] == 1) & (clip.contact_shadow(2) > 0.5)
    np.testing.assert_allclose(plate[bare], frame[bare], atol=1e-6)
    assert (plate[shaded] > 1.4 * frame[shaded]).mean() > 0.9


def test_photos_are_textures() -> None:
    photos = [np.full((30, 40, 3), (shade, 0.5, 0.2), np.float32) for shade in (1.0, 0.0)]
    clip = make_clip((96, 64), 2, photos=photos)
    assert clip.textures[0].shape[:2] == clip.textures[0].shape[1::-1], "cut to the canvas"
    top = float(np.exp(-0.35) * 0.96)
    np.testing.assert_allclose(clip.textures[0][..., 0], top, rtol=1e-5)
    np.testing.assert_allclose(clip.textures[1][..., 0], 0.03, rtol=1e-5)
    with pytest.raises(ValueError, match="argument"):
        make_clip((96, 64), 2, photos=photos[:1])

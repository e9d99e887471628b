"""Cameras, times and places: shots against known answers and laws."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from truth_project import make_truth_project

from layerloom.compose import camera as cameras
from layerloom.compose.composition import compose
from layerloom.compose.disocclusion import seen_canvas, unseen_share
from layerloom.compose.shot import is_still
from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import transform_points
from layerloom.data.project import Project
from layerloom.edits.shot import (
    Camera,
    Crop,
    Duplicate,
    Extend,
    Freeze,
    Keyframe,
    Move,
    Reverse,
    Speed,
    Stabilize,
    Unseen,
)
from layerloom.synthetic.clip import SyntheticClip, make_clip

FRAMES = 6
SIZE = (240, 136)


@pytest.fixture(scope="module")
def clip() -> SyntheticClip:
    return make_clip(size=SIZE, frames=FRAMES, seed=5)


@pytest.fixture(scope="module")
def project(clip: SyntheticClip, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_truth_project(tmp_path_factory.mktemp("truth"), clip)


def points() -> np.ndarray:
    return np.stack(np.meshgrid(np.linspace(10, 230, 12), np.linspace(10, 126, 7)), -1).reshape(-1, 2)


def test_the_path_follows_the_camera(project: Project, clip: SyntheticClip) -> None:
    path = cameras.layer_path(project, 1)
    for frame in range(FRAMES):
        true = clip.uv_at(1, points(), frame)
        assert np.abs(transform_points(cameras.view_at(path, frame, SIZE), points()) - true).max() < 0.02


def test_without_edits_of_the_shot_frames_are_ordinary(project: Project) -> None:
    for edits in ([], [Unseen("transparent")], [Speed(1.0)], [Stabilize("background", 0.0)], [Crop()]):
        shots = compose(project, edits).shots.shots
        assert len(shots) == FRAMES and all(is_still(project, shot) for shot in shots)


@settings(deadline=None, max_examples=15)
@given(x=st.floats(-50, 50), zoom=st.floats(0.5, 2), rotation=st.floats(-40, 40))
def test_a_camera_there_and_back_is_the_sources_own(project: Project, x: float, zoom: float, rotation: float) -> None:
    there, back = Keyframe(0, x, 0.0, zoom, 0.0), Keyframe(0, -x * zoom, 0.0, 1 / zoom, 0.0)
    assert all(is_still(project, s) for s in compose(project, [camera(there), camera(back)]).shots.shots)
    turns = [camera(Keyframe(0, rotation=angle)) for angle in (rotation, -rotation)]
    assert all(is_still(project, s) for s in compose(project, turns).shots.shots)


def camera(*keyframes: Keyframe) -> Camera:
    return Camera(keyframes)


@pytest.mark.parametrize("edit", [Camera(lock=3), Stabilize("background")])
def test_a_locked_camera_holds_the_background(project: Project, clip: SyntheticClip, edit: Camera | Stabilize) -> None:
    shots = compose(project, [edit]).shots.shots
    assert is_still(project, shots[3])
    for frame, shot in enumerate(shots):
        assert {instance.time for instance in shot.instances} == {float(frame)}
        texels = clip.uv_at(1, transform_points(shot.instances[-1].to_source, points()), frame)
        assert np.abs(texels - clip.uv_at(1, points(), 3)).max() < 0.05


def test_stabilizing_an_object_holds_it(project: Project, clip: SyntheticClip) -> None:
    shots = compose(project, [Stabilize("object")]).shots.shots
    middle = np.array(clip.textures[0].shape[1::-1]) / 2
    held = clip.find_uv(0, middle[None], 3)
    for frame, shot in enumerate(shots):
        now = transform_points(np.linalg.inv(shot.to_source), clip.find_uv(0, middle[None], frame))
        assert np.linalg.norm(now - held) < 4 < 20 < np.linalg.norm(clip.find_uv(0, middle[None], 0) - held)


def test_smoothing_takes_shake_and_keeps_even_pans() -> None:
    pan = np.arange(30)[:, None, None] * np.array([3.0, 0.5]) + cameras.frame_corners(SIZE)
    np.testing.assert_allclose(cameras.smooth_path(pan, 4.0), pan, atol=1e-6)
    shake = np.random.default_rng(0).normal(0, 2, (30, 1, 2))
    left = cameras.smooth_path(pan + shake, 4.0) - pan
    assert np.abs(np.diff(left, axis=0)).mean() < 0.1 * np.abs(np.diff(shake, axis=0)).mean()


def test_a_steadied_view_lies_between_the_own_and_the_locked_one(project: Project) -> None:
    corners = cameras.frame_corners(SIZE)
    moved = [
        max(
            float(np.abs(transform_points(shot.to_source, corners) - corners).max())
            for shot in compose(project, [Stabilize("background", strength)]).shots.shots
        )
        for strength in (0.0, 0.05, 0.2, 1.0)
    ]
    assert moved == sorted(moved) and moved[0] == 0 < moved[1]


def test_keyframes_are_met_and_never_passed() -> None:
    keys = [Keyframe(0), Keyframe(10, 30.0, -5.0, 2.0, 20.0), Keyframe(14, 30.0, 5.0, 1.0, 0.0)]
    for key in keys:
        met = cameras.keyframe_at(keys, key.frame)
        assert (met.x, met.y, met.rotation) == (key.x, key.y, key.rotation) and met.zoom == pytest.approx(key.zoom)
    between = [cameras.keyframe_at(keys, number) for number in np.linspace(-3, 20, 200)]
    x = np.array([key.x for key in between])
    assert (np.diff(x) >= -1e-9).all() and x.min() == 0 and x.max() == pytest.approx(30)
    assert cameras.keyframe_at(keys, 5).zoom == pytest.approx(2**0.5, rel=0.2)
    assert 0 < x[30] - x[29] < x[60] - x[59]


def test_panning_moves_what_is_seen(project: Project) -> None:
    edit = camera(Keyframe(0), Keyframe(5, x=40.0, zoom=2.0, rotation=90.0))
    shots = compose(project, [edit]).shots.shots
    assert is_still(project, shots[0])
    seen = transform_points(shots[5].to_source, np.array([[120.0, 68.0], [121.0, 68.0], [120.0, 69.0]]))
    # Turned clockwise, the camera's right is what was down.
    np.testing.assert_allclose(seen, [[160, 68], [160, 68.5], [159.5, 68]], atol=1e-3)


def test_an_extended_frame_holds_the_source_inside(project: Project) -> None:
    shots = compose(project, [Extend(10, 20, 30, 40)]).shots
    assert shots.size == (280, 196)
    assert shots.shots[2].size == (280, 196)
    np.testing.assert_allclose(transform_points(shots.shots[2].to_source, np.array([[10.0, 20.0]])), 0, atol=1e-3)


@pytest.mark.parametrize(("speed", "count"), [(0.5, 12), (1.0, 6), (2.0, 3), (0.3, 20), (100.0, 1)])
def test_speed_sets_number_and_times_of_frames(project: Project, speed: float, count: int) -> None:
    shots = compose(project, [Speed(speed)]).shots
    assert len(shots.shots) == len(shots.timestamps) == count
    for number, (shot, stamp) in enumerate(zip(shots.shots, shots.timestamps, strict=True)):
        assert {instance.time for instance in shot.instances} == {min(number * speed, 5.0)}
        assert stamp == pytest.approx(number / project.source.fps)
        assert all(np.array_equal(instance.to_source, np.eye(3)) for instance in shot.instances)
        assert is_still(project, shot) == (min(number * speed, 5.0) % 1 == 0)


def test_uneven_times_of_frames_survive_slow_motion(project: Project) -> None:
    uneven = (0, 1, 3, 4, 6, 7)
    stamps = tuple(Fraction(stamp, 24) for stamp in uneven)
    object.__setattr__(project.source, "timestamps", stamps)
    try:
        slow = compose(project, [Speed(0.5)], range(1, 5)).shots.timestamps
    finally:
        object.__setattr__(project.source, "timestamps", tuple(Fraction(frame, 24) for frame in range(FRAMES)))
    assert [round(stamp * 24, 6) for stamp in slow] == [0, 2, 4, 5, 6, 8, 10, 11]


def test_a_frozen_layer_keeps_its_place_in_the_scene(project: Project, clip: SyntheticClip) -> None:
    """What the output shows of the frozen object and of the background beside it are the same in every frame."""
    for frame, shot in enumerate(compose(project, [Freeze("object", 2)]).shots.shots):
        item, background = shot.instances
        assert (item.time, background.time) == (2.0, float(frame))
        assert np.array_equal(background.to_source, np.eye(3))
        scene = clip.uv_at(1, points(), frame)
        assert np.abs(clip.uv_at(1, transform_points(item.to_source, points()), 2) - scene).max() < 0.05


def test_a_reversed_layer_runs_backwards_alone(project: Project) -> None:
    shots = compose(project, [Reverse("object")], range(1, 5)).shots.shots
    assert [tuple(item.time for item in shot.instances) for shot in shots] == [(4, 1), (3, 2), (2, 3), (1, 4)]


def test_a_moved_object_stands_where_it_was_put(project: Project, clip: SyntheticClip) -> None:
    shots = compose(project, [Move("object", 30.0, -10.0)]).shots.shots
    moved = transform_points(shots[0].instances[0].to_source, points())
    np.testing.assert_allclose(moved, points() - (30, -10), atol=0.2)
    # In the scene the way from the old place to the new one is the same in all frames.
    ways = []
    for frame, shot in enumerate(shots):
        old = transform_points(shot.instances[0].to_source, np.array([[120.0, 70.0]]))
        ways.append(clip.uv_at(1, np.array([[120.0, 70.0]]), frame) - clip.uv_at(1, old, frame))
    assert np.abs(np.stack(ways) - ways[0]).max() < 0.1


def test_painting_on_the_frame_goes_only_where_all_layers_lie_as_in_it(project: Project) -> None:
    turned = compose(project, [camera(Keyframe(0, rotation=5.0))]).shots.shots[3]
    assert turned.source_number == 3
    np.testing.assert_array_equal(turned.to_source, turned.instances[0].to_source)
    for edit in (Move("object", 9.0), Freeze("object", 1), Speed(0.5)):
        assert compose(project, [edit]).shots.shots[3].source_number is None


def test_scaling_and_turning_are_about_the_objects_middle(project: Project, clip: SyntheticClip) -> None:
    middle = np.array(clip.textures[0].shape[1::-1]) / 2
    for frame, shot in enumerate(compose(project, [Move("object", scale=2.0, rotation_degrees=30.0)]).shots.shots):
        xy = clip.find_uv(0, middle[None], frame)
        assert np.linalg.norm(transform_points(shot.instances[0].to_source, xy) - xy) < 2
        assert np.linalg.det(shot.instances[0].to_source[:2, :2]) == pytest.approx(1 / 4, rel=0.02)


def test_a_duplicate_is_right_behind_its_object(project: Project) -> None:
    shots = compose(project, [Duplicate("object", 20.0), Move("object", 5.0)]).shots.shots
    assert [item.layer for item in shots[1].instances] == [0, 0, 1]
    first, second = (item.to_source[0, 2] for item in shots[0].instances[:2])
    assert (first, second) == (pytest.approx(-5, abs=0.1), pytest.approx(-20, abs=0.1))


def test_cropping_leaves_nothing_unseen(project: Project) -> None:
    wide = [Camera(lock=0), Extend(8, 8, 8, 8)]
    seen = seen_canvas(project)
    before = [unseen_share(project, shot, seen).max() for shot in compose(project, wide).shots.shots]
    cropped = compose(project, [*wide, Crop()]).shots
    assert max(before) == 1 and cropped.size == (256, 152)
    assert max(unseen_share(project, shot, seen).max() for shot in cropped.shots) < 0.5
    with pytest.raises(LayerloomError, match="crop: it takes a zoom of"):
        compose(project, [camera(Keyframe(0, x=300.0)), Crop()])


def test_unseen_is_what_no_frame_showed(project: Project) -> None:
    seen = seen_canvas(project)
    shot = compose(project, []).shots.shots[0]
    assert unseen_share(project, shot, seen).max() == 0
    hole = seen.copy()
    hole[:] = 0
    alpha = project.own_alpha(0, 0)
    assert unseen_share(project, shot, hole).max() == 0, "the source's picture shows outlines, too"
    moved = compose(project, [Move("object", right=500.0)]).shots.shots[0]
    np.testing.assert_allclose(unseen_share(project, moved, hole), alpha, atol=1e-3)
    np.testing.assert_allclose(unseen_share(project, shot, hole, hidden=[0]), alpha, atol=1e-3)
    assert unseen_share(project, shot, hole, step=4).shape == (35, 61)


def test_what_is_not_there_is_named(project: Project, tmp_path: Path) -> None:
    for edit, message in (
        (Move("cat"), "no layer 'cat'"),
        (Move("background"), "the background is the scene itself; only objects"),
        (Freeze("object", 9), "frame 9: .* has frames 0:6"),
        (Camera(lock=6), "frame 6: .* has frames 0:6"),
        (Stabilize("cat"), "no layer 'cat'"),
    ):
        with pytest.raises(LayerloomError, match=message):
            compose(project, [edit])
    with pytest.raises(LayerloomError, match="locked to a frame and stabilized at once"):
        compose(project, [Camera(lock=0), Stabilize("background")])

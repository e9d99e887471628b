"""Pictures of moved cameras, times and objects: against the source's own pixels and the truth."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from truth_project import make_truth_project

from layerloom import media
from layerloom.compose.composition import compose
from layerloom.compose.disocclusion import seen_canvas, unseen_share
from layerloom.compose.shadows import shadow_share
from layerloom.core.geometry import pixel_centres
from layerloom.data.project import Project
from layerloom.edits.canvas import Overlay
from layerloom.edits.document import Edit, Hide
from layerloom.edits.shot import (
    Camera,
    Duplicate,
    Extend,
    Freeze,
    Keyframe,
    LeaveShadow,
    Move,
    Reverse,
    Speed,
    Stabilize,
    Unseen,
    Unshadow,
)
from layerloom.render.stream import render_images
from layerloom.synthetic.clip import SyntheticClip, make_clip
from layerloom.synthetic.scene import LOG_SHADOW, Conditions, Light

FRAMES = 6
SIZE = (240, 136)


@pytest.fixture(scope="module")
def clip() -> SyntheticClip:
    return make_clip(size=SIZE, frames=FRAMES, seed=5)


@pytest.fixture(scope="module")
def project(clip: SyntheticClip, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_truth_project(tmp_path_factory.mktemp("truth"), clip)


@pytest.fixture(scope="module")
def speckled(clip: SyntheticClip, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, np.ndarray]:
    """A project whose source shows what no layer explains: soft spots that stand still on the object and the scene."""
    folder = tmp_path_factory.mktemp("speckled")
    (folder / "frames").mkdir()
    frames = media.to_float(clip.frames)
    for frame in range(FRAMES):
        for layer in range(2):
            u, v = clip.uv[layer, frame, ..., 0], clip.uv[layer, frame, ..., 1]
            frames[frame] += (0.08 * clip.alpha[layer, frame] * np.sin(u / 2) * np.sin(v / 2))[..., None]
        media.write_image(folder / "frames" / f"{frame:05d}.png", media.quantise(np.clip(frames[frame], 0, 1), 8))
    return make_truth_project(folder, clip, source=folder / "frames"), media.quantise(np.clip(frames, 0, 1), 8)


def run(project: Project, edits: Sequence[Edit], **options: object) -> np.ndarray:
    return np.stack(list(render_images(project, edits, **options)))  # pyright: ignore[reportArgumentType]


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    error = media.to_float(first) - media.to_float(second)
    return float(-10 * np.log10(np.square(error).mean() + 1e-12))


def test_a_camera_of_no_effect_gives_the_source(speckled: tuple[Project, np.ndarray]) -> None:
    project, source = speckled
    still = Camera((Keyframe(0), Keyframe(5)))
    np.testing.assert_array_equal(run(project, [still]), source)
    np.testing.assert_array_equal(run(project, [Stabilize("background", 0.0), Speed(1.0)]), source)


def test_a_wider_frame_holds_the_source_bit_for_bit(speckled: tuple[Project, np.ndarray]) -> None:
    project, source = speckled
    wide = run(project, [Extend(24, 8, 16, 12)])
    assert wide.shape[1:] == (156, 280, 3)
    np.testing.assert_array_equal(wide[:, 8:-12, 24:-16], source)


@pytest.mark.parametrize("mode", ["detail", "synthesis"])
def test_slow_motion_goes_through_the_sources_frames(speckled: tuple[Project, np.ndarray], mode: str) -> None:
    project, source = speckled
    slow = run(project, [Speed(0.5)], mode=mode)
    assert len(slow) == 2 * FRAMES
    if mode == "detail":
        np.testing.assert_array_equal(slow[::2], source)
    else:
        np.testing.assert_array_equal(slow[::2], run(project, [], mode=mode))


def test_frames_between_show_the_truth_between(tmp_path: Path) -> None:
    size, frames, seed = (160, 90), 12, 5
    project = make_truth_project(tmp_path, make_clip(size=size, frames=frames, seed=seed))
    truth = make_clip(size=size, frames=2 * frames - 1, seed=seed).frames
    slow = run(project, [Speed(0.5)])
    for number in range(1, 2 * frames - 1, 2):
        assert psnr(slow[number], truth[number]) > 35


def test_detail_moves_with_its_layer_between_frames(speckled: tuple[Project, np.ndarray]) -> None:
    """Spots that no layer explains are as strong between two frames as in them: no pulsing, no double pictures."""
    project, _ = speckled
    strength = [
        float(np.abs(media.to_float(frame) - media.to_float(layers)).mean())
        for frame, layers in zip(run(project, [Speed(0.5)]), run(project, [Speed(0.5)], mode="synthesis"), strict=True)
    ]
    assert min(strength[1:-1:2]) > 0.75 * max(strength)


@pytest.mark.parametrize("edit", [Camera(lock=3), Stabilize("background")])
def test_a_locked_shot_has_a_still_background(tmp_path: Path, edit: Edit) -> None:
    """Corners on the background, tracked by KLT from one frame to all others, stay within 0.2 pixels."""
    clip = make_clip(size=(320, 180), frames=7, seed=2, conditions=Conditions(Light(0.0)))
    project = make_truth_project(tmp_path, clip)
    source, locked = (
        [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames] for frames in (clip.frames, run(project, [edit]))
    )
    np.testing.assert_array_equal(locked[3], source[3])
    for frame in range(7):
        shot = compose(project, [edit]).shots.shots[frame]
        there = cv2.warpPerspective(clip.alpha[0, frame], shot.to_source, clip.size, flags=cv2.WARP_INVERSE_MAP)
        plate = cv2.dilate(np.maximum(there, clip.alpha[0, 3]), np.ones((25, 25))) == 0
        plate[:12] = plate[-12:] = plate[:, :12] = plate[:, -12:] = False
        corners = cv2.goodFeaturesToTrack(locked[3], 80, 0.01, 5, mask=plate.astype(np.uint8))
        moved = [_klt(frames[3], frames[frame], corners) for frames in (locked, source)]
        assert len(moved[0]) > 20 and np.quantile(moved[0], 0.9) < 0.2
        assert frame == 3 or np.median(moved[1]) > 1


def _klt(first: np.ndarray, second: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """How far corners move, where they are found again."""
    found, state, _ = cv2.calcOpticalFlowPyrLK(first, second, corners, None, winSize=(15, 15), maxLevel=1)
    return np.linalg.norm(found - corners, axis=-1)[state == 1]


def test_a_view_keeps_the_sources_detail(speckled: tuple[Project, np.ndarray]) -> None:
    """A turned view in detail equals the source resampled, not the layers alone."""
    project, source = speckled
    edit = Camera((Keyframe(0, 6.3, -4.2, 1.2, 7.0),))
    turned = run(project, [edit], frames=range(2, 3))[0]
    angle = np.radians(7.0)
    linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / 1.2
    middle = np.array([120, 68])
    offset = middle - linear @ middle + (6.3, -4.2) + linear @ (0.5, 0.5) - 0.5
    resampled = cv2.warpAffine(source[2], np.c_[linear, offset], SIZE, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
    layers = run(project, [edit], frames=range(2, 3), mode="synthesis")[0]
    assert psnr(turned, resampled) > 31 > psnr(layers, resampled) + 3


def test_a_frozen_object_stands_still_in_the_scene(speckled: tuple[Project, np.ndarray], clip: SyntheticClip) -> None:
    project, source = speckled
    frozen = run(project, [Freeze("object", 2), Camera(lock=2)])
    core = cv2.erode((clip.alpha[0, 2] > 0.99).astype(np.uint8), np.ones((5, 5))) > 0
    for frame in frozen:
        # The resampled detail is all that differs.
        assert psnr(frame[core], source[2][core]) > 45


def test_a_moved_object_takes_its_detail_along_and_leaves_the_background(
    speckled: tuple[Project, np.ndarray], clip: SyntheticClip
) -> None:
    project, source = speckled
    moved = run(project, [Move("object", 30.0, -8.0)], frames=range(1))[0]
    core = cv2.erode((clip.alpha[0, 0] > 0.99).astype(np.uint8), np.ones((5, 5)))
    to_there = np.array([[1, 0, 30], [0, 1, -8]], np.float32)
    there = cv2.warpAffine(core, to_there, SIZE) > 0
    assert psnr(moved[there], cv2.warpAffine(source[0], to_there, SIZE)[there]) > 38
    away = cv2.dilate(clip.alpha[0, 0], np.ones((9, 9)))
    beside = (away == 0) & (cv2.warpAffine(away, to_there, SIZE) == 0)
    np.testing.assert_array_equal(moved[beside], source[0][beside])


def test_a_duplicate_leaves_the_first_one(speckled: tuple[Project, np.ndarray], clip: SyntheticClip) -> None:
    project, source = speckled
    twice = run(project, [Duplicate("object", 30.0)], frames=range(1))[0]
    core = clip.alpha[0, 0] == 1
    np.testing.assert_array_equal(twice[core], source[0][core])
    beside = (clip.alpha[0, 0] == 0) & (np.roll(core, 30, 1))
    assert psnr(twice[beside], np.roll(source[0], 30, 1)[beside]) > 38


def test_a_reversed_object_over_the_forward_background(
    speckled: tuple[Project, np.ndarray], clip: SyntheticClip
) -> None:
    project, source = speckled
    backwards = run(project, [Reverse("object")])
    for frame, shot in enumerate(compose(project, [Reverse("object")]).shots.shots):
        matrix = shot.instances[0].to_source
        alpha = clip.alpha[0, FRAMES - 1 - frame]
        there = cv2.warpPerspective(alpha, matrix, SIZE, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        away = cv2.dilate(np.maximum(there, clip.alpha[0, frame]), np.ones((9, 9))) == 0
        assert np.abs(backwards[frame].astype(int) - source[frame]).max(-1)[away].max() <= 1
        assert psnr(backwards[frame][there == 1], source[frame][there == 1]) < 30


def test_an_unshadowed_background_has_the_light_of_other_times(tmp_path: Path) -> None:
    """The truth: the background in its own light, but for the object's shadow."""
    clip = make_clip(size=(320, 180), frames=12, seed=2, conditions=Conditions(camera=0.0))
    project = make_truth_project(tmp_path, clip)
    hidden, freed = (
        media.to_float(run(project, [Hide("object"), shadow])[5])
        for shadow in (LeaveShadow("object"), Unshadow("object"))
    )
    uv = clip.uv[1, 5]
    texture = cv2.remap(clip.textures[1], uv[..., 0] - 0.5, uv[..., 1] - 0.5, cv2.INTER_CUBIC)
    shade = clip.scene._shadow(pixel_centres(clip.size).astype(np.float64), 5 / 11)
    unlit = clip.lighting[1, 5] * np.exp(LOG_SHADOW * shade)[..., None]
    truth = np.clip(texture * unlit, 0, 1)
    shadow = clip.lighting[1, 5].mean(-1) < 0.85 * unlit.mean(-1)
    assert shadow.sum() > 1000
    assert np.abs(freed - truth)[shadow].mean() < 0.6 * np.abs(hidden - truth)[shadow].mean()
    far = shadow_share(project, [0], 5) == 0
    assert (np.abs(freed - hidden)[far].max(-1) < 1.01 / 255).mean() > 0.98


def test_edits_of_textures_move_with_the_layer(project: Project, clip: SyntheticClip, tmp_path: Path) -> None:
    width, height = project.layers[0].canvas
    media.write_image(tmp_path / "red.png", np.full((height, width, 4), (255, 0, 0, 255), np.uint8))
    moved = run(project, [Overlay("object", tmp_path / "red.png"), Move("object", 30.0)], frames=range(1))[0]
    there = np.roll(clip.alpha[0, 0] > 0.99, 30, 1)
    light = np.roll(clip.lighting[0, 0], 30, 1)
    assert np.abs(media.to_float(moved[..., 0]) - np.clip(light[..., 0], 0, 1))[there].max() < 0.05
    assert moved[..., 1][there].max() <= 4


def test_hiding_and_moving_the_camera_go_together(project: Project, clip: SyntheticClip) -> None:
    plates = run(project, [Hide("object"), Camera(lock=2)])
    both = (clip.alpha[0, 2] == 0)[..., None] * np.ones((1, 1, 3), bool)
    assert psnr(plates[2][both], clip.frames[2][both]) > 40


@pytest.mark.parametrize("content", ["transparent", "#ff00ff"])
def test_what_nobody_saw_is_marked(project: Project, clip: SyntheticClip, content: str) -> None:
    far = Camera((Keyframe(0, x=-SIZE[0] / 2.0),))
    frame = run(project, [far, Unseen(content)], frames=range(1))[0]
    plain = run(project, [far], frames=range(1))[0]
    share = unseen_share(project, compose(project, [far]).shots.shots[0], seen_canvas(project))
    assert 0.1 < (share == 1).mean() < 0.5
    if content == "transparent":
        np.testing.assert_array_equal(frame[..., :3], plain)
        np.testing.assert_array_equal(frame[..., 3] == 0, share > 0.998)
    else:
        assert (frame[share == 1] == (255, 0, 255)).all()
        np.testing.assert_array_equal(frame[share == 0], plain[share == 0])

"""Edits against known answers: truth rendered through exact maps, constant colours, and the source itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest
from truth_project import make_truth_project

from layerloom import media
from layerloom.compose.composition import compose
from layerloom.core.errors import LayerloomError
from layerloom.data.project import Project
from layerloom.edits.canvas import Blend, Overlay, Paint, Texture
from layerloom.edits.document import Background, Edit, Hide
from layerloom.render.stream import render_images
from layerloom.synthetic.clip import SyntheticClip, make_clip

FRAMES = 4


@pytest.fixture(scope="module")
def clip() -> SyntheticClip:
    return make_clip(size=(240, 136), frames=FRAMES, seed=5)


@pytest.fixture(scope="module")
def project(clip: SyntheticClip, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_truth_project(tmp_path_factory.mktemp("truth"), clip)


@pytest.fixture(scope="module")
def unexplained(clip: SyntheticClip, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, np.ndarray]:
    """A project whose source shows stripes that no layer explains, and that source."""
    folder = tmp_path_factory.mktemp("unexplained")
    frames = clip.frames.copy()
    frames[:, ::4] = 255 - frames[:, ::4]
    (folder / "striped").mkdir()
    for number, frame in enumerate(frames):
        media.write_image(folder / "striped" / f"{number:05d}.png", frame)
    return make_truth_project(folder, clip, source=folder / "striped"), frames


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    error = media.to_float(first) - media.to_float(second)
    return float(-10 * np.log10(np.square(error).mean() + 1e-12))


def canvas_image(project: Project, layer: int) -> np.ndarray:
    """A transparent overlay for a layer's canvas."""
    width, height = project.layers[layer].canvas
    return np.zeros((height, width, 4), np.uint8)


def save(path: Path, image: np.ndarray) -> Path:
    media.write_image(path, image)
    return path


def run(project: Project, edits: Sequence[Edit], **options: object) -> np.ndarray:
    return np.stack(list(render_images(project, edits, **options)))  # pyright: ignore[reportArgumentType]


def test_without_edits_the_source_comes_out(project: Project, clip: SyntheticClip) -> None:
    np.testing.assert_array_equal(run(project, []), clip.frames)
    np.testing.assert_array_equal(run(project, [], frames=range(1, 3)), clip.frames[1:3])


def test_synthesis_explains_the_source(project: Project, clip: SyntheticClip) -> None:
    assert psnr(run(project, [], mode="synthesis"), clip.frames) > 42


@pytest.mark.parametrize("mode", ["detail", "synthesis"])
def test_an_edited_texture_shows_as_the_truth_says(
    project: Project, clip: SyntheticClip, tmp_path: Path, mode: str
) -> None:
    for layer, name in enumerate(clip.names):
        texture = clip.textures[layer].copy()
        height, width = texture.shape[:2]
        part = np.s_[height // 3 : height // 2, width // 4 : 3 * width // 4]
        texture[part] = texture[part][..., ::-1] * np.float32(0.5) + np.float32(0.3)
        edit = Texture(name, save(tmp_path / f"{name}.png", media.quantise(texture, 8)))
        edited = run(project, [edit], mode=mode)
        truth = clip.render([texture if i == layer else other for i, other in enumerate(clip.textures)])
        inside = np.abs(truth - clip.render()).max(-1) > 0.02
        assert inside.mean() > 0.01
        assert psnr(edited[inside], truth[inside]) > 38
        if mode == "detail":
            far = cv2.dilate(inside.any(0).astype(np.uint8), np.ones((9, 9))) == 0
            np.testing.assert_array_equal(edited[:, far], clip.frames[:, far])


@pytest.mark.parametrize("depth", [8, 16])
def test_a_texture_saved_again_unchanged_is_no_edit(project: Project, tmp_path: Path, depth: int) -> None:
    for layer in project.layers:
        file = save(tmp_path / f"{layer.name}.png", media.quantise(layer.texture, depth))
        np.testing.assert_array_equal(run(project, [Texture(layer.name, file)]), run(project, []))


def test_colour_dropped_from_transparent_texels_is_no_edit(project: Project, tmp_path: Path) -> None:
    texture = media.quantise(project.layers[0].texture, 8)
    texture[20:60, 20:60] = 0
    np.testing.assert_array_equal(
        run(project, [Texture("object", save(tmp_path / "t.png", texture))]), run(project, [])
    )


@pytest.mark.parametrize("kind", [Overlay, Texture])
def test_an_opaque_edit_leaves_no_ghost(
    unexplained: tuple[Project, np.ndarray], tmp_path: Path, kind: type[Overlay] | type[Texture]
) -> None:
    project, source = unexplained
    width, height = project.layers[0].canvas
    part = np.s_[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3]
    image = canvas_image(project, 0) if kind is Overlay else media.quantise(project.layers[0].texture, 8)
    image[part] = (40, 90, 200, 255)
    edited = run(project, [kind("object", save(tmp_path / "edit.png", image))])
    colour = np.array([40, 90, 200], np.float32) / 255
    for frame in range(FRAMES):
        uv = project.uv(0, frame)
        inside = ((uv > (width / 3 + 3, height / 3 + 3)) & (uv < (2 * width / 3 - 3, 2 * height / 3 - 3))).all(-1)
        assert inside.sum() > 200
        expected = np.clip(project.lighting(0, frame) * colour, 0, 1)
        assert np.abs(media.to_float(edited[frame]) - expected)[inside].max() < 1 / 255
        outside = ((uv < (width / 3 - 3, height / 3 - 3)) | (uv > (2 * width / 3 + 3, 2 * height / 3 + 3))).any(-1)
        np.testing.assert_array_equal(edited[frame][outside], source[frame][outside])


def test_a_half_transparent_overlay_mixes_source_and_colour(
    unexplained: tuple[Project, np.ndarray], tmp_path: Path
) -> None:
    project, source = unexplained
    overlay = canvas_image(project, 1)
    overlay[:] = (200, 100, 50, 128)
    edited = run(project, [Overlay("background", save(tmp_path / "o.png", overlay))])
    colour, opacity = np.array([200, 100, 50], np.float32) / 255, np.float32(128 / 255)
    alone = project.own_alpha(0, 0) == 0
    expected = media.to_float(source[0]) * (1 - opacity) + opacity * colour * project.lighting(1, 0)
    assert np.abs(media.to_float(edited[0]) - np.clip(expected, 0, 1))[alone].max() < 1 / 255


def blended(colour: np.ndarray, laid_on: np.ndarray, blend: str) -> np.ndarray:
    """B(X, F) as paint programs define it."""
    return {
        "normal": laid_on + 0 * colour,
        "multiply": colour * laid_on,
        "screen": 1 - (1 - colour) * (1 - laid_on),
        "add": colour + laid_on,
    }[blend]


@pytest.mark.parametrize("blend", get_args(Blend))
def test_a_blend_acts_on_the_texture_and_on_what_no_layer_explains(
    unexplained: tuple[Project, np.ndarray], tmp_path: Path, blend: Blend
) -> None:
    project, source = unexplained
    overlay = canvas_image(project, 1)
    overlay[:] = (200, 100, 50, 128)
    edited = run(project, [Overlay("background", save(tmp_path / "o.png", overlay), blend)])
    laid_on, opacity = np.array([200, 100, 50], np.float32) / 255, np.float32(128 / 255)
    alone = project.own_alpha(0, 0) == 0
    light = project.lighting(1, 0)
    colour = media.to_float(source[0]) / light
    expected = light * (colour + opacity * (blended(colour, laid_on, blend) - colour))
    assert np.abs(media.to_float(edited[0]) - np.clip(expected, 0, 1))[alone].max() < 1 / 255


@pytest.mark.parametrize("blend", get_args(Blend))
def test_painting_in_a_blend_is_the_same_in_every_light(
    project: Project, clip: SyntheticClip, tmp_path: Path, blend: Blend
) -> None:
    paint = np.zeros((136, 240, 4), np.uint8)
    paint[20:110, 30:200] = (150, 90, 60, 160)
    edited = run(project, [Paint(2, save(tmp_path / "p.png", paint), blend)])
    laid_on, opacity = np.array([150, 90, 60], np.float32) / 255, np.float32(160 / 255)
    source = media.to_float(clip.frames)
    painted = source[2] + opacity * (blended(source[2], laid_on, blend) - source[2])
    inside = paint[..., 3] > 0
    np.testing.assert_allclose(media.to_float(edited[2])[inside], np.clip(painted, 0, 1)[inside], atol=0.51 / 255)
    uv = clip.uv[1, 0]
    xy = clip.find_uv(1, uv.reshape(-1, 2), 2).reshape(uv.shape)
    sure = ((xy > (36, 26)) & (xy < (194, 104))).all(-1) & (clip.alpha[1, 0] == 1)
    there = cv2.remap(clip.alpha[1, 2], *cv2.split(xy.astype(np.float32) - 0.5), cv2.INTER_LINEAR)
    sure &= cv2.erode((there > 0.99).astype(np.uint8), np.ones((5, 5))) > 0
    assert sure.sum() > 1000
    light = clip.lighting[1, 0]
    other_light = clip.scene.lighting(1, xy, 2 / (FRAMES - 1))
    # In the light of the painted frame, then in that of this one.
    colour = source[0] / light * other_light
    expected = (colour + opacity * (blended(colour, laid_on, blend) - colour)) / other_light * light
    assert psnr(edited[0][sure], np.clip(expected, 0, 1).astype(np.float32)[sure]) > 40


@pytest.mark.parametrize("blend", get_args(Blend))
@pytest.mark.parametrize("factor", [0.5, 3])
def test_a_blend_of_another_size_is_scaled(project: Project, tmp_path: Path, blend: Blend, factor: float) -> None:
    overlay = canvas_image(project, 1)
    height, width = overlay.shape[:2]
    cv2.circle(overlay, (width // 2, height // 2), height // 4, (255, 120, 60, 200), -1)
    size = round(factor * width), round(factor * height)
    scaled = cv2.resize(overlay, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_NEAREST)
    first, second = (
        run(project, [Overlay("background", save(tmp_path / name, image), blend)])
        for name, image in (("one.png", overlay), ("other.png", scaled))
    )
    assert (first != run(project, [])).any()
    assert psnr(first, second) > 33


def test_blends_stack_in_their_order(project: Project, tmp_path: Path) -> None:
    """AffineBlend that covers, then a multiplied one: as multiplying what the first gave."""
    height, width = project.layers[1].canvas[::-1]
    images = [np.full((height, width, 4), colour, np.uint8) for colour in ((200, 100, 50, 255), (128, 255, 64, 255))]
    first, second = (save(tmp_path / f"{number}.png", image) for number, image in enumerate(images))
    both = [Overlay("background", first), Overlay("background", second, "multiply")]
    edited = media.to_float(run(project, both)[0])
    alone = project.own_alpha(0, 0) == 0
    expected = project.lighting(1, 0) * np.array([200 * 128, 100 * 255, 50 * 64], np.float32) / 255**2
    assert np.abs(edited - np.clip(expected, 0, 1))[alone].max() < 1 / 255


def test_an_overlay_of_another_size_is_scaled(project: Project, tmp_path: Path) -> None:
    overlay = canvas_image(project, 0)
    height, width = overlay.shape[:2]
    cv2.circle(overlay, (width // 2, height // 2), height // 4, (255, 0, 0, 255), -1)
    large = cv2.resize(overlay, (3 * width, 3 * height), interpolation=cv2.INTER_NEAREST)
    first, second = (
        run(project, [Overlay("object", save(tmp_path / name, image))])
        for name, image in (("one.png", overlay), ("three.png", large))
    )
    assert (first != run(project, [])).any()
    assert psnr(first, second) > 45


def test_paint_reproduces_its_colour_and_is_carried_to_every_frame(
    project: Project, clip: SyntheticClip, tmp_path: Path
) -> None:
    paint = np.zeros((136, 240, 4), np.uint8)
    cv2.ellipse(paint, (120, 75), (90, 14), 10, 0, 360, (0, 220, 80, 255), -1)
    edited = run(project, [Paint(2, save(tmp_path / "p.png", paint))])
    opaque = paint[..., 3] == 255
    np.testing.assert_array_equal(edited[2][opaque], paint[..., :3][opaque])
    np.testing.assert_array_equal(edited[2][~opaque], clip.frames[2][~opaque])
    for frame in (0, 1, 3):
        expected, sure = carry_paint(clip, paint, 2, frame)
        assert sure.sum() > 500
        assert psnr(edited[frame][sure], expected[sure]) > 40


def carry_paint(clip: SyntheticClip, paint: np.ndarray, painted: int, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """Truth of opaque one-coloured paint in another frame, and the pixels well within it on one layer alone."""
    colour = paint[paint[..., 3] > 0][0, :3].astype(np.float32) / 255
    core = cv2.erode((paint[..., 3] == 255).astype(np.uint8), np.ones((5, 5)))
    expected = np.zeros((*core.shape, 3), np.float32)
    sure = np.zeros(core.shape, bool)
    for layer in range(2):
        uv = clip.uv[layer, frame].reshape(-1, 2)
        xy = clip.find_uv(layer, uv, painted).astype(np.float32).reshape(*core.shape, 2)
        alone = cv2.erode((clip.alpha[layer, painted] > 0.99).astype(np.uint8), np.ones((5, 5)))
        within = cv2.remap(alone * core, xy[..., 0] - 0.5, xy[..., 1] - 0.5, cv2.INTER_NEAREST) > 0
        within &= clip.alpha[layer, frame] > 0.999
        light = clip.scene.lighting(layer, xy.astype(float), painted / (FRAMES - 1))
        expected[within] = (colour / light * clip.lighting[layer, frame])[within]
        sure |= within
    return np.clip(expected, 0, 1).astype(np.float32), sure


def test_paint_ends_within_its_patch(project: Project, clip: SyntheticClip, tmp_path: Path) -> None:
    """Lookups go on with a patch's border, so that must be empty; on all sides, wherever the paint ends in a texel."""
    width, height = clip.size
    for corner in range(4):
        image = np.zeros((height, width, 4), np.uint8)
        image[height // 2 : height // 2 + 5 + corner, width // 2 : width // 2 + 5 + corner] = 255
        media.write_image(tmp_path / f"{corner}.png", image)
        edit = Paint(1, tmp_path / f"{corner}.png")
        (everywhere,) = compose(project, [edit]).canvas.passes(None)
        for patches in everywhere.patches:
            patch = None if patches is None else patches.at(0.0)
            if patch is not None:
                border = [patch.opacity[0], patch.opacity[-1], patch.opacity[:, 0], patch.opacity[:, -1]]
                assert max(side.max() for side in border) == 0


def test_hiding_an_object_shows_what_is_behind(project: Project, clip: SyntheticClip) -> None:
    edited = run(project, [Hide("object")])

    for frame in range(FRAMES):
        uv = clip.uv[1, frame]
        plate = (
            cv2.remap(clip.textures[1], uv[..., 0] - 0.5, uv[..., 1] - 0.5, cv2.INTER_CUBIC) * clip.lighting[1, frame]
        )
        covered = clip.alpha[0, frame] > 0
        assert psnr(edited[frame][covered], np.clip(plate, 0, 1)[covered]) > 38
        # Close to its outline the picture is the layers' own, too.
        near = cv2.dilate(covered.astype(np.uint8), np.ones((17, 17))) > 0
        assert psnr(edited[frame][near], np.clip(plate, 0, 1)[near]) > 38
        np.testing.assert_array_equal(edited[frame][~near], clip.frames[frame][~near])


def test_hiding_the_background_leaves_black(project: Project, clip: SyntheticClip) -> None:
    edited = run(project, [Hide("background")])
    assert (edited[clip.alpha[0] == 0] == 0).all()
    inside = clip.alpha[0] > 1 - 1e-6
    np.testing.assert_array_equal(edited[inside], clip.frames[inside])


def test_a_new_background(project: Project, clip: SyntheticClip, tmp_path: Path) -> None:
    edited = run(project, [Background("#3366cc")])
    assert (edited[clip.alpha[0] == 0] == (0x33, 0x66, 0xCC)).all()
    inside = clip.alpha[0] > 1 - 1e-6
    np.testing.assert_array_equal(edited[inside], clip.frames[inside])
    wide = np.zeros((136, 480, 3), np.uint8)
    wide[:, 120:360] = np.arange(240, dtype=np.uint8)[:, None]
    edited = run(project, [Background(save(tmp_path / "wide.png", wide))])
    expected = np.broadcast_to(wide[:, 120:360], clip.frames.shape)
    np.testing.assert_array_equal(edited[clip.alpha[0] == 0], expected[clip.alpha[0] == 0])


def test_later_edits_lie_over_earlier_ones(project: Project, tmp_path: Path) -> None:
    red, blue = canvas_image(project, 1), canvas_image(project, 1)
    red[..., (0, 3)], blue[..., (2, 3)] = 255, 255
    paint = np.zeros((136, 240, 4), np.uint8)
    paint[:] = (0, 255, 0, 255)
    over_red, over_blue = (
        Overlay("background", save(tmp_path / f"{name}.png", image)) for name, image in (("red", red), ("blue", blue))
    )
    painted = Paint(1, save(tmp_path / "paint.png", paint))
    both = [run(project, [*edits, over_blue]) for edits in ([], [over_red], [painted])]
    alone = project.own_alpha(0, 1) == 0
    np.testing.assert_array_equal(both[0][1][alone], both[1][1][alone])
    assert np.abs(both[0][1][alone].astype(int) - both[2][1][alone]).max() <= 1
    last = run(project, [over_blue, painted])
    assert (last[1] == (0, 255, 0)).all()


def test_deep_sources_stay_deep(clip: SyntheticClip, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    frames = clip.frames.astype(np.uint16) * 257 + 31 * (clip.frames < 200)
    for number, frame in enumerate(frames.astype(np.uint16)):
        media.write_image(tmp_path / "deep" / f"{number:05d}.png", frame)
    project = make_truth_project(tmp_path, clip, source=tmp_path / "deep")
    edited = run(project, [Hide("object")])
    covered = (clip.alpha[0] > 0).astype(np.uint8)
    untouched = np.stack([cv2.dilate(frame, np.ones((17, 17))) == 0 for frame in covered])
    assert edited.dtype == np.uint16
    np.testing.assert_array_equal(edited[untouched], frames[untouched])
    assert run(project, [], mode="synthesis").dtype == np.uint16


def test_layers_learned_small_are_edited_at_full_size(clip: SyntheticClip, tmp_path: Path) -> None:
    project = make_truth_project(tmp_path, clip, training_size=(80, 45))
    edited = run(project, [Background("#000000")])
    truth = clip.render([clip.textures[0], np.zeros_like(clip.textures[1])])
    assert edited.shape == clip.frames.shape
    assert psnr(edited, truth) > 28
    full = clip.alpha[0] > 1 - 1e-6
    inner = np.stack([cv2.erode(frame.astype(np.uint8), np.ones((11, 11))) for frame in full]) > 0
    np.testing.assert_array_equal(edited[inner], clip.frames[inner])


def test_an_edit_seen_small_does_not_alias(clip: SyntheticClip, tmp_path: Path) -> None:
    """The finest checkerboard on a canvas of four texels a pixel is even grey, not a moiré."""
    project = make_truth_project(tmp_path, clip, texels_per_pixel=4)
    edits: list[Edit] = []
    for layer in project.layers:
        checkers = 255 * (np.indices(layer.canvas[::-1]).sum(0) % 2)[..., None].astype(np.uint8)
        picture = np.concatenate([checkers.repeat(3, 2), np.full_like(checkers, 255)], 2)
        edits.append(Overlay(layer.name, save(tmp_path / f"{layer.name}.png", picture)))
    light = np.stack([project.lighting(1, frame) for frame in range(FRAMES)])
    alone = clip.alpha[0] == 0
    for mode in ("detail", "synthesis"):
        edited = media.to_float(run(project, edits, mode=mode))
        assert np.abs(edited - np.clip(0.5 * light, 0, 1))[alone].max() < 0.04


def test_synthesis_works_without_the_source(clip: SyntheticClip, tmp_path: Path) -> None:
    project = make_truth_project(tmp_path, clip)
    before = run(project, [Hide("object")], mode="synthesis")
    (tmp_path / "frames").rename(tmp_path / "elsewhere")
    project = Project.open(project.path)
    np.testing.assert_array_equal(run(project, [Hide("object")], mode="synthesis"), before)
    with pytest.raises(LayerloomError, match="source is gone"):
        run(project, [Hide("object")])


def test_wrong_edits_are_named_before_the_first_frame(project: Project, tmp_path: Path) -> None:
    small = save(tmp_path / "small.png", np.zeros((10, 30, 4), np.uint8))
    opaque = save(tmp_path / "rgb.png", np.zeros((136, 240, 3), np.uint8))
    clear = save(tmp_path / "clear.png", np.zeros((136, 240, 4), np.uint8))
    (tmp_path / "text.png").write_text("no image")
    width, height = project.layers[0].canvas
    cases: list[tuple[Edit, str]] = [
        (Overlay("cat", small), "no layer 'cat'; its layers are object, background"),
        (Hide("cat"), "no layer 'cat'; its layers are object, background"),
        (Overlay("object", tmp_path / "none.png"), "none.png: no such image file"),
        (Overlay("object", tmp_path / "text.png"), "text.png: not a readable image"),
        (Overlay("object", small), f"small.png: 30 x 10 pixels; an overlay .* its canvas, {width} x {height}"),
        (
            Texture("object", small),
            f"small.png: 30 x 10 pixels; an edited texture .* its canvas, {width} x {height}",
        ),
        (Paint(0, small), "small.png: 30 x 10 pixels; paint must have the frame's 240 x 136"),
        (Paint(0, opaque), "rgb.png: 3 channels; overlays and paint are RGBA"),
        (Paint(4, clear), "frame 4: .* has frames 0:4"),
        (Background(tmp_path / "none.png"), "none.png: no such image file"),
    ]
    for edit, message in cases:
        with pytest.raises(LayerloomError, match=message) as raised:
            render_images(project, [edit])
        assert "\n" not in str(raised.value)
    for frames in (range(2, 9), range(2, 2)):
        with pytest.raises(LayerloomError, match="has frames 0:4 of its source"):
            render_images(project, [], frames=frames)

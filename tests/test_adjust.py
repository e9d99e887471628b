"""Adjusted colours and light: the law, neutral values, regions, and that every way of drawing shows the same."""

import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from truth_project import make_truth_project

from layerloom import media
from layerloom.compose.adjust import LUMA, QUARTER_TURN, change_of, make_adjustment
from layerloom.compose.composition import compose
from layerloom.compose.shot import shows_a_picture, still_shot
from layerloom.core.errors import LayerloomError
from layerloom.data.mattes import own_alphas
from layerloom.data.project import Project
from layerloom.edits.adjust import Adjust
from layerloom.edits.canvas import Overlay, Texture
from layerloom.edits.document import Background, Edit, Hide, edits_from_json, edits_to_json
from layerloom.edits.shot import Move, Speed
from layerloom.render import reference
from layerloom.render.adjusted import AdjustedFootage
from layerloom.render.cpu.backend import CpuBackend
from layerloom.render.renderer import Renderer, frames_of
from layerloom.render.scene import Inputs, Pyramids, Scene
from layerloom.render.stream import render_images
from layerloom.synthetic.clip import make_clip

SIZE, FRAMES = (160, 96), 3
COLOURS = {"hue": 130.0, "saturation": 1.4, "brightness": 0.05, "contrast": 0.8}
TRITON = "with_the_kernel"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_truth_project(tmp_path_factory.mktemp("project"), make_clip(SIZE, FRAMES, seed=3))


def region(project: Project, path: Path, layer: int = 0) -> Path:
    """The left half of a canvas."""
    width, height = project.layers[layer].canvas
    image = np.zeros((height, width, 4), np.uint8)
    image[:, : width // 2, 3] = 255
    media.write_image(path, image)
    return path


def draw(project: Project, edits: Sequence[Edit], frame: int = 1, mode: str = "detail") -> np.ndarray:
    return Renderer(project, "cpu").draw(compose(project, edits), frame, "detail" if mode == "detail" else "synthesis")


def colours_after(edits: Sequence[Adjust], project: Project, colours: np.ndarray) -> np.ndarray:
    field = make_adjustment(project.layers[0], edits).field
    return colours if field is None else colours + change_of(field, colours.astype(np.float32))


@given(angle=st.floats(-360, 360), saturation=st.floats(0, 2), colour=st.tuples(*[st.floats(0, 1)] * 3))
@settings(max_examples=60, deadline=None)
def test_hue_and_saturation_keep_luma_and_grey(
    project: Project, angle: float, saturation: float, colour: tuple[float, float, float]
) -> None:
    colours = np.array([[colour, [colour[0]] * 3]])
    turned = colours_after([Adjust("object", angle, saturation)], project, colours)
    np.testing.assert_allclose(turned @ LUMA, colours @ LUMA, atol=2e-5)
    np.testing.assert_allclose(turned[0, 1], colours[0, 1], atol=2e-5)
    back = colours_after([Adjust("object", angle), Adjust("object", -angle)], project, colours)
    np.testing.assert_allclose(back, colours, atol=2e-5)


def test_known_answers(project: Project) -> None:
    red = np.array([[[1.0, 0, 0]]])
    (green,) = colours_after([Adjust("object", hue=120)], project, red)[0]
    assert green.argmax() == 1 and green[0] == pytest.approx(green[2], abs=1e-5)
    grey = colours_after([Adjust("object", saturation=0)], project, red)
    np.testing.assert_allclose(grey, LUMA[0], atol=1e-6)
    lifted = colours_after([Adjust("object", brightness=0.1, contrast=2)], project, np.full((1, 1, 3), 0.75))
    np.testing.assert_allclose(lifted, 2 * 0.25 + 0.5 + 0.1, atol=1e-6)
    np.testing.assert_allclose(QUARTER_TURN @ QUARTER_TURN, np.outer(np.ones(3), LUMA) - np.eye(3), atol=1e-12)


def test_a_neutral_one_is_the_source_bit_for_bit(project: Project, tmp_path: Path) -> None:
    (source,) = project.read_source(range(1, 2))
    everywhere = [Adjust(layer.name, hue=360) for layer in project.layers]
    assert np.array_equal(draw(project, everywhere), source)
    composition = compose(project, everywhere)
    assert composition.base is project and composition.light.project is project
    # Where a region is nothing, too.
    width, height = project.layers[0].canvas
    media.write_image(tmp_path / "nowhere.png", np.zeros((height, width), np.uint8))
    assert np.array_equal(draw(project, [Adjust("object", 90, region=tmp_path / "nowhere.png")]), source)


def test_detail_keeps_what_the_layers_cannot_explain(project: Project) -> None:
    """Under light of one colour, a layer adjusted everywhere is its picture adjusted: residual and all."""
    flat = [layer.changed(None, lambda light: np.full_like(light, 0.8)) for layer in project.layers]
    dim = project.with_layers(flat)
    composition = compose(dim, [Adjust(layer.name, **COLOURS) for layer in dim.layers])
    renderer = Renderer(dim, "cpu")
    picture = media.to_float(renderer.picture(1))
    field = make_adjustment(dim.layers[0], [Adjust("object", **COLOURS)]).field
    assert field is not None
    added = field[..., 3:]
    expected = picture + change_of(field, picture, adds=False) + 0.8 * added
    drawn = media.to_float(renderer.draw(composition, 1))
    assert np.abs(drawn - np.clip(expected, 0, 1)).max() < 1.01 / 255


@pytest.mark.parametrize("mode", ["detail", "synthesis"])
def test_light_is_a_power(project: Project, mode: str) -> None:
    flat, plain, doubled = (draw(project, [Adjust("background", light=light)], mode=mode) for light in (0.0, 1.0, 2.0))
    covered = project.own_alpha(0, 1) == 0
    light = project.lighting(1, 1, uv=project.uv(1, 1))
    darker, near_one = covered & (light.max(-1) < 0.9), covered & (np.abs(light - 1).max(-1) < 0.002)
    assert (flat[darker].mean() > plain[darker].mean() + 3) and (doubled[darker].mean() < plain[darker].mean() - 3)
    if near_one.any():
        assert np.abs(flat[near_one].astype(int) - plain[near_one]).max() <= 2
    texture = project.layers[1].look_up(project.uv(1, 1))
    if mode == "synthesis":
        assert np.abs(media.to_float(flat) - texture)[covered].max() < 1.5 / 255


def test_edits_lie_over_adjusted_layers(project: Project, tmp_path: Path) -> None:
    width, height = project.layers[0].canvas
    cover = np.full((height, width, 4), (20, 60, 200, 255), np.uint8)
    media.write_image(tmp_path / "cover.png", cover)
    media.write_image(tmp_path / "texture.png", media.quantise(np.full((height, width, 3), 0.4, np.float32), 8))
    for edit in (Overlay("object", tmp_path / "cover.png"), Texture("object", tmp_path / "texture.png")):
        plain, adjusted = draw(project, [edit]), draw(project, [Adjust("object", **COLOURS), edit])
        inside = project.own_alpha(0, 1) == 1
        assert np.abs(plain[inside].astype(int) - adjusted[inside]).max() <= 1
    # Of a hidden layer nothing is adjusted.
    hidden = [Hide("object"), Adjust("object", **COLOURS)]
    assert np.array_equal(draw(project, hidden), draw(project, hidden[:1]))
    replaced = [Background("#3366cc"), Adjust("background", **COLOURS)]
    assert np.array_equal(draw(project, replaced), draw(project, replaced[:1]))


def test_a_region_changes_its_part_alone(project: Project, tmp_path: Path) -> None:
    (source,) = project.read_source(range(1, 2))
    drawn = draw(project, [Adjust("object", **COLOURS, region=region(project, tmp_path / "left.png"))])
    whole = draw(project, [Adjust("object", **COLOURS)])
    uv, inside = project.uv(0, 1), project.own_alpha(0, 1) == 1
    middle = project.layers[0].canvas[0] / 2
    left, right = inside & (uv[..., 0] < middle - 2), inside & (uv[..., 0] > middle + 2)
    assert left.any() and np.abs(drawn[left].astype(int) - whole[left]).max() <= 1
    assert right.any() and np.array_equal(drawn[right], source[right])
    with pytest.raises(LayerloomError, match="light is the whole layer's"):
        Adjust("object", light=2, region=tmp_path / "left.png")
    media.write_image(tmp_path / "odd.png", np.zeros((8, 80), np.uint8))
    with pytest.raises(LayerloomError, match=r"odd\.png: 80 x 8 pixels; a region"):
        compose(project, [Adjust("object", hue=3, region=tmp_path / "odd.png")])


def test_another_value_composes_only_what_depends_on_it(project: Project) -> None:
    first = compose(project, [Adjust("object", hue=20), Adjust("background", light=0.5)])
    second = first.with_edits([Adjust("object", hue=20), Adjust("background", light=0.5)])
    assert second.base is first.base and second.light.project is first.light.project
    third = second.with_edits([Adjust("object", hue=21), Adjust("background", light=0.5)])
    assert third.base is not first.base and third.shots is first.shots
    assert third.base.layers[1].texture is project.layers[1].texture


def test_there_and_back_in_json(tmp_path: Path) -> None:
    edits = [Adjust("bear", 20, 1.2, 0.1, 1.1), Adjust("bear", saturation=0, region=tmp_path / "r.png")]
    assert edits_from_json(edits_to_json(edits)) == tuple(edits)


def edits_of(project: Project, folder: Path) -> list[Edit]:
    width, height = project.layers[1].canvas
    cover = np.zeros((height, width, 4), np.uint8)
    cover[height // 3 : height // 2, width // 3 : 2 * width // 3] = (200, 30, 60, 180)
    media.write_image(folder / "part.png", cover)
    left = region(project, folder / "left.png")
    colours = Adjust("background", **COLOURS, light=1.5)
    return [colours, Adjust("object", hue=40, region=left), Overlay("background", folder / "part.png")]


def test_the_back_ends_agree(project: Project, tmp_path: Path) -> None:
    edits = edits_of(project, tmp_path)
    alphas = cache(partial(own_alphas, project))
    for work in (edits, [*edits, Move("object", right=20)], [*edits, Speed(0.5)]):
        composition, renderer = compose(project, work), Renderer(project, "cpu")
        footage = AdjustedFootage(composition, CpuBackend(project), Pyramids(project))
        shot = composition.shots.shots[1]
        pictures = {frame: footage.picture(frame, renderer.picture(frame), alphas(frame)) for frame in frames_of(shot)}
        if composition.is_ordinary:
            inputs = Inputs(pictures[1], alphas, 8, as_solved=True)
        else:
            apart = not shows_a_picture(shot, len(project.layers))
            unshadowed = composition.light.unshadowed
            details = {
                (layer, frame): residual
                for frame, picture in pictures.items()
                for layer, residual in enumerate(
                    footage.residuals.of_frame(frame, picture, alphas(frame), apart, unshadowed)
                )
            }
            inputs = Inputs(None, alphas, 8, details)
        alone = Inputs(None, alphas, 8, as_solved=composition.is_ordinary)
        for mode, given_inputs in (("detail", inputs), ("synthesis", alone)):
            expected = reference.render_shot(Scene(composition), shot, given_inputs, torch.device("cpu"))
            drawn = draw(project, work, mode=mode)
            assert (np.abs(drawn.astype(int) - expected).max(-1) <= 1).mean() >= 0.999


def test_with_the_kernel(project: Project, tmp_path: Path) -> None:
    """In Triton's interpreter, which is switched on before Triton is imported."""
    if os.environ.get("TRITON_INTERPRET") != "1":
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", TRITON]
        ended = subprocess.run(
            command, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stdout[-3000:]
        return
    from layerloom.render.cuda.backend import CudaBackend

    composition, alphas = compose(project, edits_of(project, tmp_path)), cache(partial(own_alphas, project))
    picture = Renderer(project, "cpu").draw(compose(project, edits_of(project, tmp_path)[:2]), 1)
    inputs, shot = Inputs(picture, alphas, 8, as_solved=True), still_shot(project, 1)
    expected = CpuBackend(project).draw(Scene(composition), shot, inputs)
    drawn = CudaBackend(project, torch.device("cpu")).draw(Scene(composition), shot, inputs)
    assert (np.abs(drawn.astype(int) - expected).max(-1) <= 1).mean() >= 0.999


def test_frames_of_a_film(project: Project) -> None:
    edits = [Adjust("object", **COLOURS)]
    frames = list(render_images(project, edits))
    assert np.array_equal(frames[2], draw(project, edits, 2))

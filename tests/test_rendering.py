"""The back ends against the definition, and the definition against known answers.

The Triton kernel runs here on a GPU, or on the CPU in Triton's interpreter, which has to be switched on before Triton
is imported: `test_the_kernel_in_the_interpreter` runs a part of this file once more that way.
"""

import gc
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from truth_project import make_truth_project

from layerloom import media
from layerloom.compose.composition import compose
from layerloom.compose.shot import Instance, Shot, at_scale, is_still, shows_a_picture, still_shot
from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size
from layerloom.core.progress import Progress
from layerloom.data.mattes import own_alphas
from layerloom.data.project import Project
from layerloom.edits.canvas import Overlay, Paint
from layerloom.edits.document import Background, Edit, Hide
from layerloom.edits.shot import Camera, Keyframe
from layerloom.render import reference
from layerloom.render.cpu.backend import CpuBackend
from layerloom.render.cpu.packing import pack_image
from layerloom.render.footage import READ_AHEAD
from layerloom.render.pyramid import Pyramid
from layerloom.render.renderer import Mode, Renderer, frames_of
from layerloom.render.residual import ResidualMaps
from layerloom.render.scene import Inputs, Scene
from layerloom.render.stream import draw_shots, render_images
from layerloom.render.video import write_video
from layerloom.synthetic.clip import SyntheticClip, make_clip

SIZE = (240, 136)
FRAMES = 4

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
HAS_GPU = torch.cuda.is_available()
TRITON_DEVICE = "cuda" if HAS_GPU and not INTERPRETED else "cpu"
needs_triton = pytest.mark.skipif(
    not (INTERPRETED or (HAS_GPU and find_spec("triton"))), reason="Triton needs a GPU or its interpreter"
)


@pytest.fixture(scope="module")
def clip() -> SyntheticClip:
    return make_clip(size=SIZE, frames=FRAMES, objects=2, seed=5)


@pytest.fixture(scope="module")
def project(clip: SyntheticClip, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_truth_project(tmp_path_factory.mktemp("truth"), clip)


@pytest.fixture(scope="module")
def edits(project: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sequence[Edit]]:
    return make_edits(project, tmp_path_factory.mktemp("edits"))


def make_edits(project: Project, folder: Path) -> dict[str, Sequence[Edit]]:
    """Sets of edits, each with something that the others lack."""
    columns, rows = project.source.size
    overlays: list[Overlay] = []
    for index, layer in enumerate(project.layers):
        width, height = layer.canvas
        image = np.zeros((height, width, 4), np.uint8)
        image[height // 4 : height // 2, width // 4 : 3 * width // 4] = (200, 40 + 90 * index, 60, 255 - 90 * index)
        media.write_image(folder / f"{layer.name}.png", image)
        overlays.append(Overlay(layer.name, folder / f"{layer.name}.png"))
    paint = np.zeros((rows, columns, 4), np.uint8)
    paint[rows // 3 : 2 * rows // 3, columns // 4 : 4 * columns // 5] = (20, 200, 90, 200)
    media.write_image(folder / "paint.png", paint)
    painted = Paint(1, folder / "paint.png")
    front = project.layers[0].name
    return {
        "multiply": [Overlay(edit.layer, edit.file, "multiply") for edit in overlays],
        "none": [],
        "overlays": overlays,
        "paint": [*overlays[:2], painted, *overlays[2:]],
        "hide": [*overlays, Hide(front)],
        "no background": [*overlays, Hide("background")],
        "backdrop": [*overlays, Background("#3366cc")],
        "all": [*overlays, painted, Hide(front), Background(folder / "paint.png")],
    }


def inputs_of(project: Project, shot: Shot, mode: Mode, bit_depth: int = 8) -> Inputs:
    """What `render` reads for a shot."""
    alphas = cache(partial(own_alphas, project))
    if mode == "synthesis":
        return Inputs(None, alphas, bit_depth, as_solved=is_still(project, shot))
    pictures = {frame: next(project.read_source(range(frame, frame + 1))) for frame in frames_of(shot)}
    if is_still(project, shot):
        picture = media.quantise(media.to_float(pictures[frames_of(shot)[0]]), bit_depth)
        return Inputs(picture, alphas, bit_depth, as_solved=True)
    maps, apart = ResidualMaps(project, CpuBackend(project)), not shows_a_picture(shot, len(project.layers))
    details = {
        (layer, frame): detail
        for frame, picture in pictures.items()
        for layer, detail in enumerate(maps.of_frame(frame, picture, alphas(frame), apart))
    }
    return Inputs(None, alphas, bit_depth, details)


def render_shots(
    project: Project, edits: Sequence[Edit], shots: Iterable[Shot], mode: Mode = "detail"
) -> Iterator[np.ndarray]:
    return draw_shots(Renderer(project), compose(project, edits), shots, mode)


def by_reference(project: Project, edits: Sequence[Edit], shot: Shot, mode: Mode) -> np.ndarray:
    return reference.render_shot(
        Scene(compose(project, edits)), shot, inputs_of(project, shot, mode), torch.device("cpu")
    )


def assert_agree(actual: np.ndarray, expected: np.ndarray) -> None:
    """Within 1/255 at 99.9 % of the pixels."""
    assert actual.shape == expected.shape and actual.dtype == expected.dtype
    difference = np.abs(media.to_float(actual) - media.to_float(expected)).max(-1)
    assert (difference < 1.01 / 255).mean() >= 0.999, np.quantile(difference, [0.9, 0.99, 0.999, 1])


@pytest.mark.parametrize("mode", ["detail", "synthesis"])
@pytest.mark.parametrize("case", ["none", "overlays", "multiply", "paint", "hide", "no background", "backdrop", "all"])
def test_an_ordinary_frame_is_what_the_reference_says(
    project: Project, edits: dict[str, Sequence[Edit]], case: str, mode: Mode
) -> None:
    rendered = next(render_images(project, edits[case], range(1, 2), mode))
    shot = still_shot(project, 1)
    inputs = inputs_of(project, shot, mode)
    composition = compose(project, edits[case])
    scene, light = Scene(composition), composition.light
    hidden = frozenset(layer for layer in scene.hidden if project.layers[layer].kind == "object")
    if hidden and inputs.source is not None:
        residuals, relit = ResidualMaps(project, CpuBackend(project)), light.project if light.hidden else None
        cleared = residuals.cleared(1, inputs.source, inputs.own_alphas(1), hidden, relit)
        inputs = replace(inputs, source=cleared)
    assert_agree(rendered, reference.render_shot(scene, shot, inputs, torch.device("cpu")))


def moved_shots(size: Size = SIZE) -> list[Shot]:
    """A turned, tilted and wider view; a layer twice, small and large; times between frames."""
    tilted = np.array([[0.9, 0.1, -8.0], [-0.06, 1.1, -5.0], [3e-4, 2e-4, 1.0]])
    small, large = np.diag([2.7, 2.4, 1.0]), np.diag([0.4, 0.5, 1.0])
    twice = (Instance(0, 1.0, small), Instance(1, 2.0), Instance(0, 2.25, large), Instance(2, 1.0, tilted))
    return [
        Shot((size[0] + 10, size[1] + 14), tuple(Instance(layer, 1.0, tilted) for layer in range(3)), 1, tilted),
        Shot(size, tuple(Instance(layer, 1.4) for layer in range(3))),
        Shot((size[0] - 30, size[1] + 4), twice),
    ]


@pytest.mark.parametrize("mode", ["detail", "synthesis"])
@pytest.mark.parametrize("case", ["none", "multiply", "paint", "all"])
def test_any_shot_is_what_the_reference_says(
    project: Project, edits: dict[str, Sequence[Edit]], case: str, mode: Mode
) -> None:
    shots = moved_shots()
    for shot, rendered in zip(shots, render_shots(project, edits[case], shots, mode), strict=True):
        assert_agree(rendered, by_reference(project, edits[case], shot, mode))


@pytest.mark.parametrize("mode", ["detail", "synthesis"])
def test_tiles_that_edits_hardly_reach(project: Project, tmp_path: Path, mode: Mode) -> None:
    """A few dots, also on the canvas' border, which goes on; in a frame that grows to the right and downwards."""
    overlays: list[Edit] = []
    for layer in project.layers:
        width, height = layer.canvas
        image = np.zeros((height, width, 4), np.uint8)
        for x, y in np.random.default_rng(3).integers(0, (width - 3, height - 3), (6, 2)):
            image[y : y + 3, x : x + 3] = (250, 30, 60, 255)
        image[-2:, -2:] = image[:2, :2] = (20, 240, 60, 255)
        media.write_image(tmp_path / f"{layer.name}.png", image)
        overlays.append(Overlay(layer.name, tmp_path / f"{layer.name}.png"))
    wide = Shot((SIZE[0] + 150, SIZE[1] + 40), tuple(Instance(layer, 1.0) for layer in range(3)))
    for shot in (still_shot(project, 1), wide):
        drawn = next(iter(render_shots(project, overlays, [shot], mode)))
        assert_agree(drawn, by_reference(project, overlays, shot, mode))
        assert (drawn != next(iter(render_shots(project, [], [shot], mode)))).any()


@pytest.fixture(scope="module")
def fine_project(clip: SyntheticClip, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Canvases with noise of four texels a pixel, as where a layer is seen much smaller than elsewhere."""
    return make_truth_project(tmp_path_factory.mktemp("fine"), clip, texels_per_pixel=4)


def test_textures_are_looked_up_as_they_were_solved_in_ordinary_frames_alone(fine_project: Project) -> None:
    """Bilinear at the source's pixels. In any other view, though hardly another one, the noise averages out."""
    hidden = [Hide("object1"), Hide("object2")]
    shown = media.to_float(next(render_images(fine_project, hidden, range(1, 2), "synthesis")))
    uv = fine_project.uv(2, 1)
    solved = fine_project.layers[2].look_up(uv) * fine_project.lighting(2, 1, uv=uv)
    assert -10 * np.log10(np.square(shown - solved.clip(0, 1)).mean()) > 55
    edits = [*hidden, Camera((Keyframe(1), Keyframe(3, x=0.3)))]
    for other in render_images(fine_project, edits, range(1, 3), "synthesis"):
        noise = [(part - cv2.GaussianBlur(part, (0, 0), 1)).std() for part in (media.to_float(other), shown)]
        assert noise[0] < 0.7 * noise[1]


@pytest.mark.parametrize("mode", ["detail", "synthesis"])
@pytest.mark.parametrize("case", ["none", "multiply", "all"])
def test_textures_finer_than_the_source_are_what_the_reference_says(
    fine_project: Project, edits: dict[str, Sequence[Edit]], case: str, mode: Mode, tmp_path: Path
) -> None:
    some_edits = make_edits(fine_project, tmp_path)[case]
    shots = [still_shot(fine_project, 1), *moved_shots()]
    for shot, rendered in zip(shots, render_shots(fine_project, some_edits, shots, mode), strict=True):
        if is_still(fine_project, shot) and any(isinstance(edit, Hide) for edit in some_edits):
            continue  # its picture is cleared first
        assert_agree(rendered, by_reference(fine_project, some_edits, shot, mode))


@pytest.mark.parametrize("mode", ["detail", "synthesis"])
def test_nothing_of_a_fine_texture_shows_through_an_opaque_edit(
    fine_project: Project, tmp_path: Path, mode: Mode
) -> None:
    edits: list[Edit] = []
    for layer in fine_project.layers:
        image = np.full((*layer.canvas[::-1], 4), (90, 150, 60, 255), np.uint8)
        media.write_image(tmp_path / f"{layer.name}.png", image)
        edits.append(Overlay(layer.name, tmp_path / f"{layer.name}.png"))
    picture = media.to_float(next(render_images(fine_project, edits, range(1, 2), mode)))
    inner = picture[20:100, 20:180]
    assert (inner - cv2.GaussianBlur(inner, (0, 0), 2)).std() < 0.01


@pytest.mark.parametrize("scale", [0.5, 0.3, 0.11])
def test_an_edit_looks_the_same_beside_others(fine_project: Project, tmp_path: Path, scale: float) -> None:
    """In views that look at halved copies: other edits of the layer change where the patch of all begins."""
    layer = fine_project.layers[-1]
    width, height = layer.canvas
    shots = [at_scale(still_shot(fine_project, 1), scale)]
    pictures: list[np.ndarray] = []
    for dots in (False, True):
        image = np.zeros((height, width, 4), np.uint8)
        image[height // 2 : height // 2 + 101, width // 2 : width // 2 + 77] = (250, 30, 60, 255)
        if dots:
            image[9:14, 7:12] = (20, 240, 60, 255)
        media.write_image(tmp_path / f"{dots}.png", image)
        edits = [Hide("object1"), Hide("object2"), Overlay(layer.name, tmp_path / f"{dots}.png")]
        pictures += render_shots(fine_project, edits, shots, "synthesis")
    far = np.ones(pictures[0].shape[:2], bool)
    far[: far.shape[0] // 3, : far.shape[1] // 3] = False
    alone, beside = (picture[far].astype(int) for picture in pictures)
    assert np.abs(alone - beside).max() <= 1


@needs_triton
@pytest.mark.gpu
@pytest.mark.parametrize("bit_depth", [8, 16])
def test_the_kernel_draws_what_the_reference_says(tmp_path: Path, bit_depth: int) -> None:
    """Ordinary and moved shots, hidden layers, a new background, opacities by colour, and a painting of the frame's."""
    from layerloom.render.cuda import kernel
    from layerloom.render.cuda.backend import CudaBackend

    if INTERPRETED:  # large blocks, since each costs the interpreter as much as a small one
        kernel.LAUNCH["BLOCK"] = 4096
    size = (72, 40) if INTERPRETED else SIZE
    clip = make_clip(size=size, frames=FRAMES, objects=2, seed=5)
    project, fine = (make_truth_project(tmp_path / str(n), clip, texels_per_pixel=n) for n in (1, 4))
    still, (moved, between, twice) = still_shot(project, 1), moved_shots(size)
    cases = [
        (project, still, "none"),
        (project, still, "hide"),
        (project, still, "paint"),
        (project, moved, "multiply"),
        (project, between, "all"),
        (project, twice, "overlays"),
        (fine, still, "overlays"),
        (fine, twice, "multiply"),
    ]
    edits = {each.path: make_edits(each, each.path.parent) for each in (project, fine)}
    for each, shot, case in cases:
        some_edits = edits[each.path][case]
        scene, inputs = Scene(compose(each, some_edits)), inputs_of(each, shot, "detail", bit_depth)
        drawn = CudaBackend(each, torch.device(TRITON_DEVICE)).draw(scene, shot, inputs)
        assert_agree(drawn, reference.render_shot(scene, shot, inputs, torch.device("cpu")))
    scene, inputs = Scene(compose(fine)), inputs_of(fine, still, "synthesis", bit_depth)
    drawn = CudaBackend(fine, torch.device(TRITON_DEVICE)).draw(scene, still, inputs)
    assert_agree(drawn, reference.render_shot(scene, still, inputs, torch.device("cpu")))


@pytest.mark.skipif(INTERPRETED or not find_spec("triton"), reason="runs the interpreter in a process of its own")
def test_the_kernel_in_the_interpreter() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-x", __file__, "-k", "test_the_kernel_draws"]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_frames_come_one_after_the_other_however_many_they_are(project: Project) -> None:
    """Shots are taken only a little ahead of the frames that were handed out."""
    taken = 0

    def shots() -> Iterator[Shot]:
        nonlocal taken
        for number in range(100):
            taken += 1
            yield Shot((32, 20), (Instance(2, float(number % FRAMES)),))

    ahead = [taken - received for received, _ in enumerate(render_shots(project, [], shots()), 1)]
    assert len(ahead) == 100
    assert max(ahead) <= READ_AHEAD + (os.cpu_count() or 1) + 2


def test_a_frame_between_two_shows_the_truth_between_them(tmp_path: Path) -> None:
    size, frames, seed = (160, 90), 12, 5
    project = make_truth_project(tmp_path, make_clip(size=size, frames=frames, seed=seed))
    middle = media.to_float(make_clip(size=size, frames=2 * frames - 1, seed=seed).frames[11])
    shots = [Shot(size, (Instance(0, time), Instance(1, time))) for time in (5.0, 5.5)]
    still, between = (media.to_float(picture) for picture in render_shots(project, [], shots))
    assert np.square(between - middle).mean() < 0.02 * np.square(still - middle).mean()
    assert -10 * np.log10(np.square(between - middle).mean()) > 35


def test_a_shrinking_texture_does_not_shimmer(project: Project) -> None:
    """The finest checkerboard goes to grey, also where it shrinks one way alone; a texture stays near the truth."""
    from layerloom.render.cpu.sampling import ellipse, filtered

    rng = np.random.default_rng(0)
    checkers = np.repeat((np.indices((256, 256)).sum(0) % 2)[..., None], 4, 2).astype(np.float32)
    noise = cv2.resize(rng.random((64, 64, 4), np.float32), (256, 256), interpolation=cv2.INTER_CUBIC)
    shrinking = {"evenly": np.diag([4.0, 4.0]), "one way": np.diag([5.0, 1.0])}
    turned = np.array([[0.8, -0.6], [0.6, 0.8]])
    shrinking["turned"] = turned @ np.diag([8.0, 3.0]) @ turned.T
    for way, jacobian in shrinking.items():
        pixels = np.stack(np.meshgrid(*[np.arange(-8, 8) + 0.37] * 2), -1).astype(np.float32)
        uv = torch.from_numpy((pixels @ jacobian.T).astype(np.float32) + 128)
        shape = torch.tensor(jacobian, dtype=torch.float32).expand(*uv.shape[:2], 2, 2)
        for image, spread, least in ((checkers, 0.001 if way == "evenly" else 0.15, 0.0), (noise, np.inf, 26.0)):
            pyramid = Pyramid(image, 0, 0, (256, 256))
            shown = reference.filtered(pyramid, uv, shape).numpy()
            packed = pack_image(pyramid)
            covered = ellipse(*jacobian.astype(np.float32).ravel())
            point = filtered(packed.record[0], *uv[3, 5].numpy(), covered)
            np.testing.assert_allclose(point, shown[3, 5], atol=1e-4)
            finer = (np.arange(16) + 0.5) / 16 - 0.5
            around = np.stack(np.meshgrid(finer, finer), -1).reshape(-1, 1, 1, 2) @ jacobian.T
            samples = (uv.numpy() + around - 0.5).astype(np.float32).reshape(-1, 16, 2)
            looked_up = cv2.remap(image, samples[..., 0], samples[..., 1], cv2.INTER_LINEAR)
            truth = looked_up.reshape(256, 16, 16, 4).mean(0)
            assert np.abs(shown - 0.5).max() < spread
            assert -10 * np.log10(np.square(shown - truth).mean()) > least


def test_pictures_on_the_gpu_are_kept_by_being_the_same_array() -> None:
    from layerloom.render.cuda import backend

    kept = backend._Pictures(torch.device("cpu"))
    arrays = [np.full((2, 2, 3), number, np.uint8) for number in range(3)]
    tensors = [kept.uploaded(array) for array in arrays]
    for array, tensor in zip(reversed(arrays), reversed(tensors), strict=True):
        assert kept.uploaded(array) is tensor


def test_who_interrupts_a_film_leaves_neither_a_thread_nor_a_file(project: Project, tmp_path: Path) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.done >= 0.5:
            raise KeyboardInterrupt

    before = threading.active_count()
    for output in (tmp_path / "film.mp4", tmp_path / "frames" / "%05d.png"):
        with pytest.raises(KeyboardInterrupt):
            write_video(project, [], output, on_progress=interrupt)
        gc.collect()
        assert threading.active_count() == before
    assert not list(tmp_path.iterdir())


def test_a_film_whose_frames_cannot_be_kept_ends_with_their_error(project: Project, tmp_path: Path) -> None:
    def remove_folder(progress: Progress) -> None:
        for folder in tmp_path.glob(".*.partial"):
            shutil.rmtree(folder)

    with pytest.raises(LayerloomError, match="cannot be written"):
        write_video(project, [], tmp_path / "frames" / "%05d.png", on_progress=remove_folder)
    assert not list(tmp_path.iterdir())

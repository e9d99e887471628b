"""Frames from the networks: a field comes back from its project as it was, and shows what the baked maps show."""

from pathlib import Path

import numpy as np
import pytest
import torch

from layerloom import media
from layerloom.compose.composition import compose
from layerloom.compose.shot import Instance, Shot, at_scale, still_shot
from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import pixel_centres
from layerloom.data.project import Project
from layerloom.decompose import decompose
from layerloom.edits.adjust import Adjust
from layerloom.edits.canvas import Overlay
from layerloom.edits.document import Background, Hide
from layerloom.edits.shot import Unshadow
from layerloom.model.field import composite
from layerloom.model.storage import field_from_arrays, field_to_arrays
from layerloom.neural_render import render_networks
from layerloom.prepare.prepare import prepare
from layerloom.render.renderer import Renderer
from layerloom.render.stream import draw_shots
from layerloom.synthetic.clip import make_clip
from layerloom.train.settings import settings_for

CPU = torch.device("cpu")
SIZE, FRAMES = (96, 64), 6


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Learned for some seconds, which is enough for maps and networks to be compared."""
    folder = tmp_path_factory.mktemp("learned")
    truth = make_clip(SIZE, FRAMES, seed=2)
    (folder / "masks" / "object").mkdir(parents=True)
    (folder / "frames").mkdir()
    for number, (frame, mask) in enumerate(zip(truth.frames, truth.masks[0], strict=True)):
        media.write_image(folder / "frames" / f"{number:05d}.png", frame)
        media.write_image(folder / "masks" / "object" / f"{number:05d}.png", mask)
    settings = settings_for("draft", "cpu")
    settings = type(settings)(steps=200, tiles=settings.tiles, field=settings.field)
    clip = prepare(folder / "frames", masks=folder / "masks", device="cpu")
    return decompose(clip, folder / "clip.loom", device="cpu", settings=settings)


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    error = media.to_float(first) - media.to_float(second)
    return float(-10 * np.log10(np.square(error).mean() + 1e-12))


def test_a_field_is_restored_as_it_was(project: Project) -> None:
    field = field_from_arrays(project.weights(), project.training_size, project.settings["field"], CPU)
    again = field_from_arrays(field_to_arrays(field), field.size, project.settings["field"], CPU)
    xy = torch.rand(2, 50, 2) * torch.tensor(SIZE)
    frame = torch.tensor([1, 4])
    first, second = field(xy, frame, False), again(xy, frame, False)
    for name in ("uv", "texture", "lighting", "alpha"):
        assert torch.equal(getattr(first, name), getattr(second, name))
    (picture,) = render_networks(compose(project), "cpu", [still_shot(project, 4)])
    centres = torch.from_numpy(pixel_centres(SIZE)).view(1, -1, 2)
    explained = composite(field(centres, frame[1:], False)).view(SIZE[1], SIZE[0], 3)
    assert np.abs(media.to_float(picture) - explained.numpy().clip(0, 1)).max() <= 0.51 / 255


def test_networks_show_what_maps_show(project: Project, tmp_path: Path) -> None:
    """At other sizes and between frames, under edits; but for the detail that was solved into the baked texture."""
    layer = project.layers[0]
    image = np.zeros((layer.canvas[1], layer.canvas[0], 4), np.uint8)
    image[image.shape[0] // 3 : image.shape[0] // 2] = (250, 240, 30, 255)
    media.write_image(tmp_path / "overlay.png", image)
    overlay = Overlay(layer.name, tmp_path / "overlay.png")
    still = still_shot(project, 2)
    between = Shot(SIZE, tuple(Instance(layer, 2.5) for layer in range(2)))
    shots = [still, between, at_scale(still, 3.0), at_scale(between, 0.4)]
    adjusted = [Adjust("background", hue=120, contrast=0.7, light=0.5), overlay]
    for edits in ([], [overlay], [Hide(layer.name)], [overlay, Background("#204060")], adjusted):
        maps = draw_shots(Renderer(project), compose(project, edits), shots, "synthesis")
        for shot, from_maps, from_networks in zip(
            shots, maps, render_networks(compose(project, edits), "cpu", shots), strict=True
        ):
            assert from_networks.shape == (shot.size[1], shot.size[0], 3)
            assert psnr(from_networks, from_maps) > 25
    drawn: list[np.ndarray] = []
    for edits in ([overlay], []):
        composition = compose(project, edits)
        drawn += render_networks(composition, "cpu", [still])
        drawn += draw_shots(Renderer(project), composition, [still], "synthesis")
    with_overlay, from_maps, without, plain = drawn
    changed = np.abs(from_maps.astype(int) - plain).max(-1) > 40
    assert changed.sum() > 100
    # A part of a pixel and some light apart: frames are placed and light is solved only after learning.
    assert psnr(with_overlay[changed], from_maps[changed]) > 25
    assert (with_overlay[changed] != without[changed]).any(-1).mean() > 0.95


def test_what_networks_cannot_do_is_said(project: Project, tmp_path: Path) -> None:
    with pytest.raises(LayerloomError, match="unshadow: shadows are taken off baked light"):
        render_networks(compose(project, [Unshadow("object")]), "cpu")
    arrays = project.weights()
    with pytest.raises(LayerloomError, match="networks are damaged"):
        field_from_arrays({**arrays, "alpha_start": arrays["alpha_start"][:-9]}, SIZE, project.settings["field"], CPU)
    with pytest.raises(LayerloomError, match="no networks that can be evaluated"):
        field_from_arrays({"texture.table": np.zeros(3)}, SIZE, project.settings["field"], CPU)

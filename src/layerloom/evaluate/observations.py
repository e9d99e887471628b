"""One pass over the clip: the figures of single frames, and in temporary files what other measures need of them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int8

from layerloom import media
from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size, fit_long_edge
from layerloom.core.imaging import resize
from layerloom.data.clip import Masks
from layerloom.data.mattes import mattes
from layerloom.data.project import Project
from layerloom.evaluate import davis, halos, light, measures
from layerloom.evaluate.probes import render_cards, render_pattern, render_unlit
from layerloom.evaluate.spool import FrameSpool
from layerloom.render.renderer import Renderer
from layerloom.render.stream import render_images

INSIDE_ALPHA = 0.9
"""A point belongs to a layer while the layer's share of the pixel is above this."""
SURE_ALPHA = 0.99
"""What a card on a layer shows counts where the layer has this much of the pixel."""
SMALL_LONG_EDGE = 640

Picture = Float32[np.ndarray, "h w 3"]
Shares = Float32[np.ndarray, "l h w"]
Perceive = Callable[[Picture, Sequence[Picture]], list[float]]
"""How far pictures look from a first one."""


class Given:
    """What the user knows of the clip and the project is measured against, beside its source."""

    def __init__(self, project: Project, masks: Masks | None, lpips_weights: Path | None) -> None:
        """LayerloomError if masks or weights do not fit."""
        self.masks = masks
        self.layer_of: Mapping[str, int | None] = {} if masks is None else davis.match_masks(project, masks)
        self.perceive: Perceive | None = None if lpips_weights is None else _load_lpips(lpips_weights, project)


class Observations:
    """The clip as the measures need it: the source, the layers' own picture of it, and the pattern-edited one.

    owner: number of the layer whose share is above INSIDE_ALPHA, −1 where there is none. Grey and owner are at source
    size, pictures and shares at most SMALL_LONG_EDGE long. Memory does not grow with the clip: frames lie in files.
    """

    def __init__(self, project: Project) -> None:
        width, height = project.source.size
        self.small: Size = fit_long_edge(project.source.size, SMALL_LONG_EDGE)
        reduced = self.small[1], self.small[0]
        self.grey_source, self.grey_edited = (FrameSpool((height, width), np.uint8) for _ in range(2))
        self.owner = FrameSpool((height, width), np.int8)
        self.source, self.rebuilt, self.edited = (FrameSpool((*reduced, 3), np.uint8) for _ in range(3))
        self.shares = FrameSpool((len(project.layers), *reduced), np.uint8)
        self.lights = [light.Followed() for _ in project.layers]
        self.cards = [light.Followed() for _ in project.layers]
        self.per_frame: dict[str, list[float]] = {}
        """By the figure's name, with /NAME for one layer's or object's; NaN where a frame has none."""

    def note(self, values: Mapping[str, float]) -> None:
        """Figures of the next frame."""
        for name, value in values.items():
            self.per_frame.setdefault(name, []).append(value)


def observe(project: Project, given: Given, progress: Callable[[int, int], None]) -> Observations:
    """Go through all frames once. progress: told the frames done, and of how many."""
    seen, renderer = Observations(project), Renderer(project)
    pictures = zip(
        project.read_source(project.source_range),
        render_images(project, mode="synthesis", renderer=renderer),
        render_pattern(project, renderer=renderer),
        render_cards(project, renderer=renderer),
        halos.cut_out(project, renderer),
        strict=True,
    )
    for frame, (stored, *rendered, cutout) in enumerate(pictures):
        source, rebuilt, edited, cards = (media.to_float(picture) for picture in (stored, *rendered))
        shares = mattes(project, frame, stored)
        seen.note(_compare(project, frame, source, rebuilt, shares))
        seen.note(_perceived(project, frame, source, rebuilt, shares, given.perceive))
        seen.note(_judge_outlines(project, frame, source, shares, cutout))
        seen.note(_compare_masks(frame, shares, given))
        _follow_texture(project, frame, seen, cards, shares)
        _keep(seen, source, rebuilt, edited, shares)
        progress(frame + 1, project.source.frames)
    return seen


def owners(shares: Shares) -> Int8[np.ndarray, "h w"]:
    """The layer that has more than INSIDE_ALPHA of a pixel; −1 for none."""
    return np.where(shares.max(0) > INSIDE_ALPHA, shares.argmax(0), -1).astype(np.int8)


def _keep(seen: Observations, source: Picture, rebuilt: Picture, edited: Picture, shares: Shares) -> None:
    seen.grey_source.append(measures.grey(source))
    seen.grey_edited.append(measures.grey(edited))
    seen.owner.append(owners(shares))
    for spool, picture in ((seen.source, source), (seen.rebuilt, rebuilt), (seen.edited, edited)):
        spool.append(media.quantise(resize(picture, seen.small), 8))
    seen.shares.append(media.quantise(np.stack([resize(share, seen.small) for share in shares]), 8))


def _load_lpips(weights: Path, project: Project) -> Perceive:
    """PyTorch, which nothing else here needs, is imported for it."""
    from layerloom.evaluate.lpips import SMALLEST_SIDE, Lpips

    width, height = project.source.size
    if min(width, height) < SMALLEST_SIDE:
        raise LayerloomError(f"{project.source.path} is {width}x{height}; LPIPS needs {SMALLEST_SIDE} pixels each way")
    return Lpips(weights).distances


def _compare(project: Project, frame: int, source: Picture, rebuilt: Picture, shares: Shares) -> dict[str, float]:
    unlit = render_unlit(project, frame, shares)
    training = project.training_size
    return {
        "psnr": measures.psnr(rebuilt, source),
        "psnr_training_size": measures.psnr(resize(rebuilt, training), resize(source, training)),
        "psnr_unlit": measures.psnr(unlit, source),
        "ssim": measures.ssim(rebuilt, source),
        "ssim_unlit": measures.ssim(unlit, source),
        "undecided": measures.undecided_share(shares),
    }


def _perceived(
    project: Project, frame: int, source: Picture, rebuilt: Picture, shares: Shares, perceive: Perceive | None
) -> dict[str, float]:
    if perceive is None:
        return {}
    lit, unlit = perceive(source, [rebuilt, render_unlit(project, frame, shares)])
    return {"lpips": lit, "lpips_unlit": unlit}


def _judge_outlines(
    project: Project, frame: int, source: Picture, shares: Shares, cutout: halos.Cutout
) -> dict[str, float]:
    """NaN where no object has an outline."""
    last = len(project.layers) - 1
    uv = project.uv(last, frame)
    background = project.layers[last].look_up(uv) * project.lighting(last, frame, uv=uv)
    ramps = {
        f"ramp_px/{layer.name}": measures.ramp_px(share)
        for layer, share in zip(project.layers, shares, strict=True)
        if layer.kind == "object"
    }
    return {"halo_px": halos.halo_px(source, background, cutout), **ramps}


def _compare_masks(frame: int, shares: Shares, given: Given) -> dict[str, float]:
    """NaN where the frame has no mask of the object; pixels that no one vouches for do not count."""
    values: dict[str, float] = {}
    if given.masks is None:
        return values
    for number, name in enumerate(given.masks.names):
        layer, vouched = given.layer_of[name], given.masks.trust[number, frame] > 0
        j = f = float("nan")
        if vouched.any():
            mask = (given.masks.coverage[number, frame] > 127) & vouched
            matte = np.zeros_like(mask) if layer is None else (shares[layer] > 0.5) & vouched
            j, f = measures.intersection_over_union(matte, mask), davis.boundary_f(matte, mask)
        values |= {f"iou/{name}": j, f"boundary_f/{name}": f}
    return values


def _follow_texture(project: Project, frame: int, seen: Observations, cards: Picture, shares: Shares) -> None:
    """Note how much of each layer's light, and of what the cards show, follows the texture under it."""
    shown = light.luma(resize(cards, seen.small))
    for number, layer in enumerate(project.layers):
        uv = project.uv(number, frame)
        texture = resize(layer.look_up(uv), seen.small)
        lit = light.log_luma(resize(project.lighting(number, frame, uv=uv), seen.small))
        sure = resize(shares[number], seen.small) > SURE_ALPHA
        seen.lights[number].add(light.follows(lit, light.log_luma(texture), sure))
        seen.cards[number].add(light.follows(shown, light.luma(texture), sure))

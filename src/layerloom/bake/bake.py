"""LayeredField to baked layers: what the editing half needs, at the source's own scale.

The networks learn at training size; canvases are baked at the source's scale or finer. uv and lighting are smooth, so
small grids hold them. Texture and light are then solved against the source frames.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as functional
from jaxtyping import Float, UInt8
from torch import Tensor

from layerloom.bake.explain import Explainer, SourceFrames
from layerloom.bake.light_grid import refine
from layerloom.bake.maps import LayerMaps
from layerloom.bake.normalise import normalise_lighting
from layerloom.bake.sample_field import sample_alpha, sample_maps
from layerloom.bake.solve import solve
from layerloom.data.clip import Clip
from layerloom.data.project import BakedLayer
from layerloom.model.field import LayeredField

SEEN_TEXELS = 5
"""Across the neighbourhood by which a texel counts as seen."""


@torch.no_grad()
def bake(
    field: LayeredField,
    clip: Clip,
    source_frames: SourceFrames,
    device: torch.device,
    progress: Callable[[float], None] = lambda done: None,
) -> tuple[tuple[BakedLayer, ...], list[float]]:
    """All layers of a trained field, and each frame's PSNR in dB as they explain it.

    `source_frames()` starts reading the clip's frames anew, at source size. `progress` is told the share done.
    """
    own_alpha = sample_alpha(field, device)
    maps = [sample_maps(field, index, clip.source.size, own_alpha) for index in range(len(field.layers))]
    for layer in maps:
        refine(layer, clip.source.size)
    explainer = Explainer(maps, own_alpha, source_frames, clip.source.size)
    psnr = solve(maps, explainer, len(clip.frames), clip.size, progress)
    normalise_lighting(maps, own_alpha, clip.source.size)
    layers = tuple(
        _finish(layer_maps, name, own_alpha[index] if index < len(own_alpha) else None)
        for index, (name, layer_maps) in enumerate(zip(clip.layer_names, maps, strict=True))
    )
    return layers, psnr


def _finish(maps: LayerMaps, name: str, alpha: UInt8[Tensor, "t h w"] | None) -> BakedLayer:
    """Fill what was never seen, and hand over to the CPU."""
    sureness = 1 - torch.exp(-2 * maps.seen)
    # Where the layer is seen small, texels between the pixels get nothing; they lie in what was seen all the same.
    around = functional.avg_pool2d(maps.seen[None], SEEN_TEXELS, 1, SEEN_TEXELS // 2)[0]
    opacity = 1 - torch.exp(-2 * around)
    texture = torch.cat([_fill_unseen(maps.texture, sureness), opacity[None]]).permute(1, 2, 0)
    return BakedLayer(
        name=name,
        kind="background" if alpha is None else "object",
        texture=texture.contiguous().cpu().numpy(),
        alpha=None if alpha is None else alpha.cpu().numpy(),
        uv_affine=maps.affine.double().cpu().numpy(),
        uv_offset=maps.offset.cpu().numpy(),
        lighting=maps.lighting.half().cpu().numpy(),
    )


def _fill_unseen(colour: Float[Tensor, "3 h w"], sureness: Float[Tensor, "h w"]) -> Float[Tensor, "3 h w"]:
    """Continue seen colours smoothly into what no frame saw (pull–push: Gortler et al. 1996, "The Lumigraph")."""
    if min(sureness.shape) < 2:
        return colour
    pulled = functional.avg_pool2d(torch.cat([colour * sureness, sureness[None]])[None], 2, ceil_mode=True)[0]
    weight = pulled[3]
    coarse = _fill_unseen(pulled[:3] / weight.clamp(min=1e-6), (4 * weight).clamp(max=1))
    pushed = functional.interpolate(coarse[None], sureness.shape, mode="bilinear", align_corners=False)[0]
    return colour * sureness + pushed * (1 - sureness)

"""The terms of the training objective: pure functions of what was evaluated and what was seen, and one table of them.

Sources: Chan et al. 2023 (hashing-nvd) and Kasten et al. 2021 (layered neural atlases), as released. Where a term
departs from them, its docstring says how and why. All are means over the pixels concerned, in pixels or texels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from layerloom.model.field import LayerSample, composite
from layerloom.train.sampling import Batch
from layerloom.train.settings import TILE

EPSILON = 1e-5
SOFT_NORM_TEXELS = 0.05
"""Rounds off a norm near zero, which keeps its gradient finite."""
DARK = 0.03**2
"""Added to T² in the prior on light, which keeps light at 1 where the texture is too dark to tell."""
NOISE = (2 / 255) ** 2
"""Mean square of an error of which `structure` makes nothing."""


@dataclass(frozen=True)
class Evaluation:
    """A batch as the field sees it.

    partner_uv, partner_alpha: at the flow partners of `source_uv`, `source_alpha` (every second pixel).
    far_uv: uv at each tile's first pixel and at one 100 pixels to its right and one below; far_uv_start likewise.
    patch_seen, patch_unseen: lighting of 3×3 texel patches when they are seen and at a time when they are out of the
    frame; patch_weight is 1 where that time exists.
    """

    batch: Batch
    sample: LayerSample
    source_uv: Float[Tensor, "layers n half 2"]
    source_alpha: Float[Tensor, "layers n half"]
    partner_uv: Float[Tensor, "layers n half 2"]
    partner_alpha: Float[Tensor, "layers n half"]
    far_uv: Float[Tensor, "layers n 3 2"]
    far_uv_start: Float[Tensor, "layers n 3 2"]
    patch_seen: Float[Tensor, "layers m 9 3"]
    patch_unseen: Float[Tensor, "layers m 9 3"]
    patch_weight: Float[Tensor, "layers m"]


def colour(e: Evaluation) -> Float[Tensor, ""]:
    """‖ĉ − c‖², ĉ = Σ_l α_l T_l R_l (hashing-nvd, reconstruction)."""
    return (composite(e.sample) - e.batch.colour).square().sum(-1).mean()


def gradient(e: Evaluation) -> Float[Tensor, ""]:
    """‖∂x ĉ − ∂x c‖² + ‖∂y ĉ − ∂y c‖², one-pixel differences inside a tile (hashing-nvd, gradient)."""
    error = _tile(composite(e.sample) - e.batch.colour)
    along_x = (error[:, :, 1:] - error[:, :, :-1]).square().sum(-1).mean()
    return along_x + (error[:, 1:] - error[:, :-1]).square().sum(-1).mean()


def mask_guidance(e: Evaluation) -> Float[Tensor, ""]:
    """Binary cross entropy of each layer's alpha against the masks (hashing-nvd, alpha bootstrapping).

    Weighted by the masks' trust and kept to the end: far from outlines a mask is right, and the background with its
    own lighting could otherwise imitate the object there; along outlines alpha stays free to be soft.
    """
    alpha = e.sample.alpha.clamp(EPSILON, 1 - EPSILON)
    entropy = -(e.batch.coverage * alpha.log() + (1 - e.batch.coverage) * (1 - alpha).log())
    return (entropy * e.batch.trust).mean()


def one_layer_per_pixel(e: Evaluation) -> Float[Tensor, ""]:
    """−log max_l α_l (hashing-nvd, sparsity of alpha)."""
    return -e.sample.alpha.amax(0).clamp(min=EPSILON).log().mean()


def flow_alpha(e: Evaluation) -> Float[Tensor, ""]:
    """|α(p, t) − α(p + f, t + s)| where flow agrees both ways (hashing-nvd, flow alpha)."""
    return ((e.source_alpha - e.partner_alpha).abs() * e.batch.partner_confidence).mean()


def flow_uv(e: Evaluation) -> Float[Tensor, ""]:
    """α_l ‖W_l(p + f, t + s) − W_l(p, t)‖ (hashing-nvd, flow), weighted by the flow's confidence.

    Alpha is held fixed: otherwise it vanishes wherever flow is hard. Steps reach over 1, 2, 4, 8 frames, not
    one only, which ties the ends of a long track together.
    """
    moved = ((e.source_uv - e.partner_uv).square().sum(-1) + SOFT_NORM_TEXELS**2).sqrt() - SOFT_NORM_TEXELS
    return (moved * e.source_alpha.detach() * e.batch.partner_confidence).sum(0).mean()


def rigidity(e: Evaluation) -> Float[Tensor, ""]:
    """‖JᵀJ‖_F + ‖(JᵀJ)⁻¹‖_F, J = one-pixel differences of W_l (layered neural atlases, rigidity).

    J is taken relative to the motion prior's own Jacobian, so a zooming camera costs nothing.
    """
    tiles = (uv.unflatten(2, (TILE, TILE)) for uv in (e.sample.uv, e.sample.uv_start))
    jacobian, prior = (_jacobian(uv[:, :, :-1, :-1], right=uv[:, :, :-1, 1:], below=uv[:, :, 1:, :-1]) for uv in tiles)
    return _stretch(jacobian, prior).mean()


def global_rigidity(e: Evaluation) -> Float[Tensor, ""]:
    """`rigidity` with 100-pixel differences (layered neural atlases, global rigidity)."""
    jacobian, prior = (_jacobian(*uv.unbind(2)) for uv in (e.far_uv, e.far_uv_start))
    return _stretch(jacobian, prior).mean()


def sparsity(e: Evaluation) -> Float[Tensor, ""]:
    """‖(1 − α_l) T_l‖² of the objects (layered neural atlases, sparsity): no texture where it is not visible."""
    hidden = (1 - e.sample.alpha[:-1, ..., None]) * e.sample.texture[:-1]
    return hidden.square().sum(-1).sum(0).mean()


def lighting_prior(e: Evaluation) -> Float[Tensor, ""]:
    """(T² + ε) (R − 1)² (hashing-nvd, residual, without T²): the texture, not the light, explains what it can.

    Ours: in units of colour, as the evidence is. Where T is 0.2, (R − 1)² alone weighs as much as the colours do, and
    light came out at half of its strength. T is held fixed: a darker texture must not make light cheaper.
    """
    weight = e.sample.texture.detach().square() + DARK
    return (weight * (e.sample.lighting - 1).square()).sum(-1).sum(0).mean()


def lighting_consistency(e: Evaluation) -> Float[Tensor, ""]:
    """(1 − Pearson correlation of R unseen with R seen) + 16 · variance of R unseen (hashing-nvd, consistency).

    Per colour channel over 3×3 texel patches, at a time when the patch is out of the frame: there lighting must stay
    plausible, that is like what was seen, and flat.
    """
    seen = e.patch_seen.detach() - e.patch_seen.detach().mean(2, keepdim=True)
    unseen = e.patch_unseen - e.patch_unseen.mean(2, keepdim=True)
    covariance = (seen * unseen).mean(2)
    spread = (seen.square().mean(2) * unseen.square().mean(2) + 1e-12).sqrt()
    cost = (1 - covariance / spread) + 16 * unseen.square().mean(2)
    return (cost.mean(-1) * e.patch_weight).mean()


def structure(e: Evaluation) -> Float[Tensor, " n"]:
    """How much of each tile's colour error is more than a plane over the tile, 0 to 1.

    Ours: where objects pass (see `plan_zone`) only this share of the colours' pull bends the background's mapping. A
    shadow that goes along with an object darkens a tile evenly, or with a slope at its border. Light is told of that;
    the mapping would follow the shadow with what is darker nearby, and leave a crease in the texture along its path.
    """
    with torch.no_grad():
        error = _tile(composite(e.sample) - e.batch.colour)
        x = torch.arange(TILE, device=error.device) - (TILE - 1) / 2
        slopes = torch.stack([torch.einsum("nrcd,c->nd", error, x), torch.einsum("nrcd,r->nd", error, x)])
        planes = error.sum((1, 2)).square() + slopes.square().sum(0) * 12 / (TILE**2 - 1)
        smooth = planes.sum(-1) / TILE**2
        return (1 - smooth / (error.square().sum((1, 2, 3)) + NOISE * 3 * TILE**2)).clamp(min=0)


@dataclass(frozen=True)
class Term:
    """A row of the table: `active_until` is the share of the steps after which the term is left out."""

    name: str
    function: Callable[[Evaluation], Tensor]
    weight: float
    active_until: float = 1.0


TERMS = (
    Term("colour", colour, 5.0),
    Term("gradient", gradient, 1.0),
    Term("mask_guidance", mask_guidance, 4.0),
    Term("one_layer_per_pixel", one_layer_per_pixel, 0.02),
    Term("flow_alpha", flow_alpha, 0.05),
    Term("flow_uv", flow_uv, 0.1),
    Term("rigidity", rigidity, 0.001),
    Term("global_rigidity", global_rigidity, 0.01, active_until=0.1),
    Term("sparsity", sparsity, 0.01),
    Term("lighting_prior", lighting_prior, 0.2),
    Term("lighting_consistency", lighting_consistency, 0.01),
)


def _tile(values: Float[Tensor, "n k c"]) -> Float[Tensor, "n rows columns c"]:
    return values.unflatten(1, (TILE, TILE))


def _jacobian(
    here: Float[Tensor, "*n 2"], right: Float[Tensor, "*n 2"], below: Float[Tensor, "*n 2"]
) -> Float[Tensor, "*n 2 2"]:
    return torch.stack([right - here, below - here], -1)


def _stretch(jacobian: Float[Tensor, "*n 2 2"], prior: Float[Tensor, "*n 2 2"]) -> Float[Tensor, "*n"]:
    """‖JᵀJ‖_F + ‖(JᵀJ)⁻¹‖_F − 2√2 of J · prior⁻¹: 0 where the mapping turns and shifts the prior but does not bend it.

    The determinant is kept from vanishing by 1e-3, as published.
    """
    (a, b), (c, d) = _rows(prior)
    scale = 1 / (a * d - b * c)
    (p, q), (r, s) = _rows(jacobian)
    relative = ((p * d - q * c) * scale, (q * a - p * b) * scale, (r * d - s * c) * scale, (s * a - r * b) * scale)
    p, q, r, s = relative
    xx, xy, yy = p * p + r * r, p * q + r * s, q * q + s * s
    norm = (xx.square() + 2 * xy.square() + yy.square()).sqrt()
    determinant = (xx + 1e-3) * (yy + 1e-3) - xy.square()
    return norm + norm / determinant - 2 * 2**0.5


def _rows(matrix: Float[Tensor, "*n 2 2"]) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    return (matrix[..., 0, 0], matrix[..., 0, 1]), (matrix[..., 1, 0], matrix[..., 1, 1])

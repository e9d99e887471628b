"""Light solved in closed form, frame by frame and layer by layer, where uv, coverage and texture are known.

With S = α T R, what a layer shows, and e, the residual, a light of R (1 + δ) explains e ≈ S δ, and within a window
δ = Σ S e / Σ S². Windows go from coarse to fine: the whole frame (exposure and white balance), then Gaussian windows,
each of what the ones before left.

What no light can be shall not pass for one:

- Where a layer lies d beside its texture, the residual is d · ∇S. δ and d are fitted together, and only δ is taken.
- The prior is in units of colour, λ = κ σ² / s² against Σ S². σ² is what the fit leaves unexplained in this window, so
  little is taken for light where something else is seen than this texture in another light (parallax, noise).
- Tints are held more tightly than brightness; clipped pixels say nothing.
- What of the fine light follows the texture under it is the texture's or the mapping's, and is taken out again.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from jaxtyping import Float
from torch import Tensor

from layerloom.bake.explain import Explained
from layerloom.bake.light_grid import blur, spacing_pixels
from layerloom.bake.maps import LayerMaps, at_pixels, grid_nodes
from layerloom.bake.texture_solve import trust
from layerloom.core.geometry import Size, rescale_positions
from layerloom.ops.dispatch import splat

WINDOWS_NODES = (16, 8, 4, 2, 1)
"""σ of the Gaussian windows, in nodes of the light's grid."""
CELLS_A_WINDOW = 2
"""σ of a window in cells of the coarser grid on which it is fitted."""
CORRELATED_PIXELS = 16.0
"""κ: errors of so many pixels are as one, as along an edge."""
USUAL_EXPOSURE, USUAL_LIGHT, USUAL_TINT = 0.3, 0.15, 0.05
"""s: how much log light changes from frame to frame, and from one window to the next; how far channels differ in it."""
NOISE = (1.5 / 255) ** 2
"""Mean square of an error that is there in any case."""
CLIPPED = 0.99
LARGEST_SHIFT_PIXELS = 1.5
LARGEST_STEP = 0.5
"""Of log light, by one window."""
LOG_LIGHT = (-2.0, 1.4)
LARGEST_TINT = 0.4
"""How far a channel's log light may lie from the mean of the three."""
FINE_NODES, FOLLOWING_NODES = 3.0, 7.0
"""Light finer than Gaussian means of this σ must not follow the texture, in windows of that σ."""
DARKEST = 1 / 255
LUMA = (0.299, 0.587, 0.114)

Plane = Float[Tensor, "rows columns"]
Planes = Float[Tensor, "n rows columns"]


class LightSolver:
    """Settles lighting against textures as they are when it is made."""

    def __init__(self, maps: list[LayerMaps], size: Size) -> None:
        self._maps, self._block = maps, max(1, round(spacing_pixels(size) / 2))
        self._structures = [_structure(layer) for layer in maps]

    def solve(self, frame: Explained) -> None:
        """Set all layers' lighting of a frame."""
        for index, layer in enumerate(self._maps):
            moments = gather(layer, frame, index, self._block)
            log_light = layer.lighting[frame.t].permute(2, 0, 1).log() + coarse_to_fine(moments)
            mean = log_light.mean(0)
            tint = (log_light - mean).clamp(-LARGEST_TINT, LARGEST_TINT)
            log_light = mean.clamp(*LOG_LIGHT) + tint
            log_light = log_light - following(log_light, self._structures[index], moments.count)
            layer.lighting[frame.t] = log_light.exp().permute(1, 2, 0)


@dataclass(frozen=True)
class Moments:
    """Sums over the pixels around each node, by their weight. S: what the layer shows, ∇: its slope, e: the residual.

    energy: S² by channel. across, down: S ∂S/∂x and S ∂S/∂y by channel. slopes: of ∂x ∂x, ∂x ∂y, ∂y ∂y, over channels.
    pull: S e by channel. shift: e ∂x and e ∂y, over channels. error: e², over channels. count: of pixels.
    """

    planes: Float[Tensor, "19 rows columns"]

    @property
    def energy(self) -> Planes:
        return self.planes[0:3]

    @property
    def across(self) -> Planes:
        return self.planes[3:6]

    @property
    def down(self) -> Planes:
        return self.planes[6:9]

    @property
    def slopes(self) -> tuple[Plane, Plane, Plane]:
        return self.planes[9], self.planes[10], self.planes[11]

    @property
    def pull(self) -> Planes:
        return self.planes[12:15]

    @property
    def shift(self) -> tuple[Plane, Plane]:
        return self.planes[15], self.planes[16]

    @property
    def error(self) -> Plane:
        return self.planes[17]

    @property
    def count(self) -> Plane:
        return self.planes[18]

    def window(self, sigma: float) -> "Moments":
        """Sums over Gaussian windows, as many pixels as are independent in them."""
        return Moments(4 * math.pi * sigma**2 * blur(self.planes, sigma))

    def pooled(self, factor: int) -> "Moments":
        """Sums over cells of factor × factor nodes."""
        rows, columns = self.planes.shape[1:]
        padded = functional.pad(self.planes, (0, -columns % factor, 0, -rows % factor))
        return Moments(functional.avg_pool2d(padded[None], factor)[0] * factor**2)

    def after(self, change: Planes) -> "Moments":
        """The sums once light is 1 + `change` times what it was: S grows, e shrinks by S · change."""
        scale = 1 + change
        mean = scale.mean(0)
        left = [
            self.energy * scale**2,
            self.across * scale**2,
            self.down * scale**2,
            torch.stack(self.slopes) * mean**2,
            (self.pull - self.energy * change) * scale,
            ((self.shift[0] - (self.across * change).sum(0)) * mean)[None],
            ((self.shift[1] - (self.down * change).sum(0)) * mean)[None],
            (self.error + ((self.energy * change - 2 * self.pull) * change).sum(0))[None],
            self.count[None],
        ]
        return Moments(torch.cat(left))


def gather(layer: LayerMaps, frame: Explained, index: int, block: int) -> Moments:
    """A layer's moments in a frame. Pixels are taken together in blocks before they are brought to the canvas."""
    alpha = frame.alpha[index]
    colour = frame.texture[index] * frame.light[index]
    weight = trust(frame.residual) * (2 * alpha - 1).clamp(0, 1) * (frame.colour < CLIPPED).all(0)
    shown, e = alpha * colour, frame.residual
    across = alpha * functional.pad(colour[:, :, 2:] - colour[:, :, :-2], (1, 1)) / 2
    down = alpha * functional.pad(colour[:, 2:] - colour[:, :-2], (0, 0, 1, 1)) / 2
    slopes = torch.stack([across.square().sum(0), (across * down).sum(0), down.square().sum(0)])
    shift = torch.stack([(across * e).sum(0), (down * e).sum(0), e.square().sum(0), torch.ones_like(alpha)])
    planes = weight * torch.cat([shown**2, shown * across, shown * down, slopes, shown * e, shift])
    planes = functional.avg_pool2d(planes[None], block, ceil_mode=True)[0] * block**2
    uv = functional.avg_pool2d(frame.uv[index].permute(2, 0, 1)[None], block, ceil_mode=True)[0].permute(1, 2, 0)
    rows, columns = layer.lighting.shape[1:3]
    at = rescale_positions(uv, layer.canvas, (columns - 1, rows - 1)) + 0.5
    sums = torch.zeros(rows * columns, len(planes), device=planes.device)
    splat(planes.flatten(1), at.reshape(-1, 2), (columns, rows), sums)
    return Moments(sums.T.reshape(-1, rows, columns))


def coarse_to_fine(moments: Moments) -> Float[Tensor, "3 rows columns"]:
    """By how much log light changes at each node."""
    rows, columns = moments.count.shape
    everything = Moments(moments.planes.sum((1, 2), keepdim=True))
    change = fit(everything, USUAL_EXPOSURE, USUAL_EXPOSURE / 2).expand(-1, rows, columns)
    total = change.log1p()
    for window in WINDOWS_NODES:
        moments = moments.after(change)
        factor = max(1, window // CELLS_A_WINDOW)
        change = fit(moments.pooled(factor).window(window / factor), USUAL_LIGHT, USUAL_TINT)
        if factor > 1:
            change = functional.interpolate(change[None], scale_factor=factor, mode="bilinear")[0, :, :rows, :columns]
        total = total + change.log1p()
    return total


def fit(sums: Moments, usual_light: float, usual_tint: float) -> Float[Tensor, "3 rows columns"]:
    """δ of each window: what all channels have in common first, then, held more tightly, what each has of its own.

    The shift d is eliminated from the normal equations (Schur complement), with a ridge that leaves flat places alone.
    """
    energy, across, down, pull = sums.energy, sums.across, sums.down, sums.pull
    per_energy = 1 / (energy + 1e-3)
    xx, xy, yy = sums.slopes
    ridge = 1e-3 + 0.02 * (xx + yy)
    xx = xx - (across**2 * per_energy).sum(0) + ridge
    xy = xy - (across * down * per_energy).sum(0)
    yy = yy - (down**2 * per_energy).sum(0) + ridge
    x = sums.shift[0] - (across * pull * per_energy).sum(0)
    y = sums.shift[1] - (down * pull * per_energy).sum(0)
    determinant = (xx * yy - xy**2).clamp(min=1e-9)
    right = ((yy * x - xy * y) / determinant).clamp(-LARGEST_SHIFT_PIXELS, LARGEST_SHIFT_PIXELS)
    below = ((xx * y - xy * x) / determinant).clamp(-LARGEST_SHIFT_PIXELS, LARGEST_SHIFT_PIXELS)
    pull = pull - across * right - down * below
    explained = sums.shift[0] * right + sums.shift[1] * below + (pull**2 * per_energy).sum(0)
    unexplained = (sums.error - explained).clamp(min=0) / 3 / sums.count.clamp(min=1e-3) + NOISE
    prior = CORRELATED_PIXELS * unexplained
    common = pull.sum(0) / (energy.sum(0) + prior / usual_light**2)
    own = (pull - energy * common) / (energy + prior / usual_tint**2)
    return (common + own).clamp(math.exp(-LARGEST_STEP) - 1, math.exp(LARGEST_STEP) - 1)


def following(log_light: Planes, structure: Planes, count: Plane) -> Planes:
    """What of the fine light follows the texture: in windows, its fit by the texture's fine part and its slopes."""
    weight = count / (count + 1)
    fine = weight * (log_light - _mean_near(log_light, weight, FINE_NODES))
    structure = weight * torch.cat([structure[:1] - _mean_near(structure[:1], weight, FINE_NODES), structure[1:]])
    by = len(structure)
    products = torch.cat([(structure[:, None] * part).flatten(0, 1) for part in (structure, fine)])
    sums = blur(products, FOLLOWING_NODES).permute(1, 2, 0)
    matrix, target = sums[..., : by * by].unflatten(-1, (by, by)), sums[..., by * by :].unflatten(-1, (by, -1))
    ridge = 1e-3 * matrix.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None] + 1e-7
    solved = torch.linalg.solve(matrix + ridge * torch.eye(by, device=matrix.device), target)
    return (solved.permute(2, 3, 0, 1) * structure[:, None]).sum(0)


def _mean_near(planes: Planes, weight: Plane, sigma: float) -> Planes:
    return blur(planes * weight, sigma) / blur(weight[None], sigma).clamp(min=1e-6)


def _structure(layer: LayerMaps) -> Planes:
    """Of the texture at the light's nodes: log luma and its slopes."""
    rows, columns = layer.lighting.shape[1:3]
    width = max(1, round(layer.canvas[0] / (columns - 1)))
    luma = (layer.texture * layer.texture.new_tensor(LUMA)[:, None, None]).sum(0)
    coarse = functional.avg_pool2d(luma[None, None], width, ceil_mode=True)
    nodes = grid_nodes(layer.canvas, columns, rows, luma.device).view(1, rows, columns, 2)
    log_luma = at_pixels(coarse, nodes, layer.canvas)[0].clamp(min=DARKEST).log()
    across = functional.pad(log_luma[:, :, 2:] - log_luma[:, :, :-2], (1, 1)) / 2
    down = functional.pad(log_luma[:, 2:] - log_luma[:, :-2], (0, 0, 1, 1)) / 2
    return torch.cat([log_luma, across, down])

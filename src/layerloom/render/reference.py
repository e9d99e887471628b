"""What a frame is: the definition that the fast back ends are held against. Plain PyTorch, any shot, any device.

An instance of a layer at time t shows an output pixel p what lies at q = to_source(p):

    uv(q, t)          affine map of the frame + bilinear offset grid; between two frames linear at fixed q
    own alpha         the stored plane at q; between two frames blended from where the same texel lies in each
    R(uv, t)          lighting grid, bilinear; between two frames linear at fixed uv
    c, a              change and opacity of an edit, filtered to what the pixel covers of the canvas
    T(uv)             texture, likewise; in ordinary frames bilinear, as it was solved at the source's pixels

Instances are composited front to back: `seen` with all of them, `kept` without the hidden ones. With the source's
picture, e = picture − Σ seen R T is what the layers cannot explain; without it e is 0. The frame starts as

    (1 − Σ_replaced seen) e + Σ kept R T

with a new background's picture in place of the last layer, and each pass adds Σ kept (R c' − a e) and then lays its
painting over. What a pass changed belongs to e for the next one. An edit starts from the filtered texture: with d,
what T lacks of that, c' = c + a d, so that nothing of T shows through an opaque one.

Other shots carry e along with the layers. With e(q) of the picture at an instance's time, and m(q) the share that the
layer has there, the instance adds min(kept, m) e: so what one layer hides or leaves behind takes its part of e along,
and an ordinary frame would come out as above. Between two frames both give their part, from where the same texel lies
in each. Beyond the picture e fades out.

Filtering: J, the map's derivative at the pixel, stretches it to an ellipse of texels. Up to eight probes are spread
along the long axis so that each covers at most about 1.75 texels or the short axis; where a probe covers more, it is
taken from smaller copies of the canvas, blended between two of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from layerloom import media
from layerloom.compose.shot import Homography, Instance, Shot, neighbours
from layerloom.core.geometry import pixel_centres, transform_points
from layerloom.data.project import Project
from layerloom.render.pyramid import (
    BILINEAR_TEXELS_PER_PIXEL,
    FINEST_TEXELS_PER_PIXEL,
    HALVINGS_PER_TEXEL,
    MOST_PROBES,
    Pyramid,
)
from layerloom.render.scene import DETAIL_MARGIN, EditPass, Inputs, Scene

Positions = Float[Tensor, "h w 2"]
Plane = Float[Tensor, "h w"]
Colours = Float[Tensor, "h w 3"]
Jacobian = Float[Tensor, "h w 2 2"]


def render_shot(scene: Scene, shot: Shot, inputs: Inputs, device: torch.device) -> np.ndarray:
    """The frame, h w 3, uint8 or uint16."""
    passes = scene.passes(shot)
    views = [_view(scene, shot, index, inputs, device) for index in range(len(shot.instances))]
    seen = _composite([view.own for view in views])
    hidden = [instance.layer in scene.hidden for instance in shot.instances]
    kept = _composite([torch.zeros_like(view.own) if h else view.own for view, h in zip(views, hidden, strict=True)])
    replaced = [instance.layer in scene.replaced for instance in shot.instances]
    carried = [_carried(view, share, gone) for view, share, gone in zip(views, kept, replaced, strict=True)]
    residual = unexplained = _residual(shot, inputs, _add(seen, [view.content for view in views]), device)
    for share, is_replaced in zip(seen, replaced, strict=True):
        residual = residual - share[..., None] * is_replaced * unexplained
    contents = [_new_content(scene, shot, index, view) for index, view in enumerate(views)]
    picture = residual + torch.stack(carried).sum(0) + _add(kept, contents)
    for edit_pass in passes:
        before = picture
        parts = [own + share[..., None] * residual for own, share in zip(carried, kept, strict=True)]
        picture = picture + _patch_change(edit_pass, views, kept, parts)
        if edit_pass.paint is not None:
            paint, _ = _taken(shot, edit_pass.paint, device)
            picture = picture + paint[..., :3] - paint[..., 3:] * picture
        residual = residual + picture - before
    full_scale = 2**inputs.bit_depth - 1
    pixels = picture.clamp(0, 1) * full_scale + 0.5
    return pixels.cpu().numpy().astype(np.uint8 if inputs.bit_depth == 8 else np.uint16)


@dataclass(frozen=True, eq=False)
class _View:
    """An instance as a shot shows it. `content`: light times texture. `lacking`: what the texture lacks of the filtered
    one. `details`: by the frames on both sides of its time, how much each counts, and what is to be carried along from
    its picture.
    """

    own: Plane
    uv: Positions
    jacobian: Jacobian
    light: Colours
    content: Colours
    lacking: Colours
    details: tuple[tuple[float, Float[Tensor, "h w 4"]], ...]


def _view(scene: Scene, shot: Shot, index: int, inputs: Inputs, device: torch.device) -> _View:
    instance, project = shot.instances[index], scene.project
    xy = _positions(shot, instance.to_source, device)
    first, second, share = neighbours(instance.time)
    ends = (_uv(project, instance.layer, frame, xy) for frame in (first, second))
    uv, stretch = (torch.lerp(one, other, share) for one, other in zip(*ends, strict=True))
    jacobian = stretch @ _derivative(instance.to_source, _positions(shot, np.eye(3), device)).float()
    light = torch.lerp(_light(project, instance.layer, first, uv), _light(project, instance.layer, second, uv), share)
    places = _places(project, instance, xy, uv)
    own = _own_alpha(project, instance.layer, inputs, places)
    texture, lacking = _texture(scene.textures[instance.layer], uv, jacobian, inputs.as_solved)
    details = tuple(
        (weight, _look_up(_tensor(inputs.details[instance.layer, frame], device), place + DETAIL_MARGIN))
        for frame, weight, place in places
        if inputs.details
    )
    return _View(own, uv, jacobian, light, light * texture, lacking, details)


def _texture(image: Pyramid, uv: Positions, jacobian: Jacobian, as_solved: bool) -> tuple[Colours, Colours]:
    """A texture as an output pixel shows it, and what it lacks of the filtered one."""
    full = filtered(image, uv, jacobian)[..., :3]
    shown = _look_up(_tensor(image.levels[0].texels, uv.device), uv + 1)[..., :3] if as_solved else full
    return shown, full - shown


def _positions(shot: Shot, matrix: Homography, device: torch.device) -> Positions:
    """Where the output's pixel centres lie under a homography."""
    centres = torch.from_numpy(pixel_centres(shot.size)).to(device, torch.float64)
    return transform_points(torch.from_numpy(matrix).to(device), centres)


def _derivative(matrix: Homography, xy: Positions) -> Jacobian:
    """Of a homography's image by the position: (M_linear − image ⊗ m_last) / w."""
    m = torch.from_numpy(matrix).to(xy)
    image = transform_points(m, xy)
    w = (xy @ m[2, :2] + m[2, 2])[..., None, None]
    return (m[:2, :2] - image[..., :, None] * m[2, :2]) / w


def _uv(project: Project, layer: int, frame: int, xy: Positions) -> tuple[Positions, Jacobian]:
    """Texel positions at source-pixel positions in a frame, and their derivative by these."""
    stored = project.layers[layer]
    affine = torch.from_numpy(stored.uv_affine[frame]).to(xy)
    nodes = _tensor(stored.uv_offset(frame), xy.device)
    straight = xy @ affine[:, :2].T + affine[:, 2]
    offset, slope = _between_nodes(nodes, xy.float(), project.source.size)
    return straight.float() + offset, affine[:, :2].float() + slope


def _light(project: Project, layer: int, frame: int, uv: Positions) -> Colours:
    stored = project.layers[layer]
    return _between_nodes(_tensor(stored.lighting_grid(frame), uv.device), uv, stored.canvas)[0]


def _places(project: Project, instance: Instance, xy: Positions, uv: Positions) -> list[tuple[int, float, Positions]]:
    """The frames on both sides of an instance's time, how much each counts, and where the texels lie in it."""
    first, second, share = neighbours(instance.time)
    if share == 0:
        return [(first, 1.0, xy.float())]
    places: list[tuple[int, float, Positions]] = []
    for frame, weight in ((first, 1 - share), (second, share)):
        # One Newton step from q with the affine part's inverse.
        inverse = torch.from_numpy(np.linalg.inv(project.layers[instance.layer].uv_affine[frame, :, :2])).to(uv)
        missed = uv - _uv(project, instance.layer, frame, xy)[0]
        places.append((frame, weight, xy.float() + missed @ inverse.T))
    return places


def _own_alpha(project: Project, layer: int, inputs: Inputs, places: Sequence[tuple[int, float, Positions]]) -> Plane:
    """Zero outside the source's frame; one everywhere for the background."""
    if project.layers[layer].kind == "background":
        return torch.ones_like(places[0][2][..., 0])
    planes = [weight * _own_alpha_in_frame(project, layer, inputs, frame, xy) for frame, weight, xy in places]
    return torch.stack(planes).sum(0)


def _own_alpha_in_frame(project: Project, layer: int, inputs: Inputs, frame: int, xy: Positions) -> Plane:
    size = torch.tensor(project.source.size).to(xy)
    plane = _tensor(media.to_float(inputs.own_alphas(frame)[layer]), xy.device)
    scale = torch.tensor(plane.shape[::-1]).to(xy) / size
    inside = ((xy >= 0) & (xy <= size)).all(-1)
    return _look_up(plane[..., None], xy * scale)[..., 0] * inside


def _carried(view: _View, kept: Plane, is_replaced: bool) -> Colours:
    """Of what the layers cannot explain, the part that an instance carries along."""
    total = torch.zeros_like(view.content)
    for weight, detail in view.details:
        total = total + weight * (not is_replaced) * torch.minimum(kept[..., None], detail[..., 3:]) * detail[..., :3]
    return total


def _composite(own: Sequence[Plane]) -> list[Plane]:
    """Own coverages, front to back, to shares of the pixel."""
    left = torch.ones_like(own[0])
    shares: list[Plane] = []
    for coverage in own:
        shares.append(coverage * left)
        left = left * (1 - coverage)
    return shares


def _add(shares: Sequence[Plane], colours: Sequence[Colours]) -> Colours:
    return torch.stack([share[..., None] * colour for share, colour in zip(shares, colours, strict=True)]).sum(0)


def _new_content(scene: Scene, shot: Shot, index: int, view: _View) -> Colours:
    """What an instance shows: the new background's picture instead of the last layer."""
    if scene.backdrop is not None and shot.instances[index].layer == len(scene.project.layers) - 1:
        return _tensor(scene.backdrop.fit(shot.size), view.own.device)
    return view.content


def _residual(shot: Shot, inputs: Inputs, explained: Colours, device: torch.device) -> Colours:
    """The source's picture less what the layers show; zero outside of the picture."""
    if inputs.source is None:
        return torch.zeros_like(explained)
    shown, inside = _taken(shot, media.to_float(inputs.source), device)
    return shown - inside * explained


def _taken(
    shot: Shot, picture: Float32[np.ndarray, "H W c"], device: torch.device
) -> tuple[Float[Tensor, "h w c"], Float[Tensor, "h w 1"]]:
    """The source's picture, or a painting over it, as the shot takes it, and where it is inside; 0 outside."""
    xy = _positions(shot, shot.to_source, device).float()
    inside = ((xy >= 0) & (xy <= xy.new_tensor([picture.shape[1], picture.shape[0]]))).all(-1)[..., None].to(xy)
    return _look_up(_tensor(picture, device), xy) * inside, inside


def _patch_change(
    edit_pass: EditPass, views: Sequence[_View], kept: Sequence[Plane], unexplained: Sequence[Colours]
) -> Colours:
    """Σ kept R c' − a (each instance's part of e)."""
    total = torch.zeros_like(views[0].content)
    for change, view, share, residual in zip(edit_pass.changes, views, kept, unexplained, strict=True):
        if change is not None:
            values = filtered(change.main, view.uv, view.jacobian)
            opacity = values[..., 3:]
            if change.opacities is not None:
                opacity = filtered(change.opacities, view.uv, view.jacobian)[..., :3]
            colour = values[..., :3] + opacity * view.lacking
            total = total + share[..., None] * view.light * colour - opacity * residual
    return total


def filtered(image: Pyramid, uv: Positions, jacobian: Jacobian) -> Float[Tensor, "h w 4"]:
    """An image over what each pixel covers of its canvas."""
    axis, probes, level = _ellipse(jacobian)
    level = level.clamp(max=len(image.levels) - 1)
    levels = image.levels[: int(level.max().ceil()) + 1]
    images = [_tensor(each.texels, uv.device) for each in levels]
    total = uv.new_zeros(*uv.shape[:2], 4)
    for probe in range(int(probes.max())):
        position = uv + axis * ((probe + 0.5) / probes - 0.5)[..., None]
        counts = (probe < probes) / probes
        for number, (values, each) in enumerate(zip(images, levels, strict=True)):
            weight = counts * (1 - (level - number).abs()).clamp(min=0)
            corner = uv.new_tensor([each.left, each.top])
            total = total + weight[..., None] * _look_up(values, (position - corner) / each.side + 1)
    return total


def _ellipse(jacobian: Jacobian) -> tuple[Positions, Plane, Plane]:
    """The long axis of what a pixel covers (texels), the number of probes along it, and how often to halve for them."""
    product = jacobian @ jacobian.transpose(-1, -2)
    mean = (product[..., 0, 0] + product[..., 1, 1]) / 2
    difference, mixed = (product[..., 0, 0] - product[..., 1, 1]) / 2, product[..., 0, 1]
    root = torch.hypot(difference, mixed)
    long, short = (mean + root).sqrt(), (mean - root).clamp(min=0).sqrt()
    probes = (long / short.clamp(min=FINEST_TEXELS_PER_PIXEL) + 0.5).floor().clamp(1, MOST_PROBES)
    axis = torch.where(
        (difference >= 0)[..., None],
        torch.stack([root + difference, mixed], -1),
        torch.stack([mixed, root - difference], -1),
    )
    axis = axis * (long / axis.norm(dim=-1).clamp(min=1e-20))[..., None]
    covered = torch.maximum(long / probes, short)
    reached = (covered - BILINEAR_TEXELS_PER_PIXEL) * HALVINGS_PER_TEXEL
    return axis, probes, (covered / FINEST_TEXELS_PER_PIXEL).clamp(min=1).log2().minimum(reached).clamp(min=0)


def _between_nodes(
    nodes: Float[Tensor, "rows columns c"], xy: Positions, extent: tuple[int, int]
) -> tuple[Float[Tensor, "h w c"], Float[Tensor, "h w c 2"]]:
    """Values of nodes spread over an extent, the outermost on its corners, and their derivative; bilinear between.

    Beyond the extent its border goes on.
    """
    spacing = xy.new_tensor([extent[0] / (nodes.shape[1] - 1), extent[1] / (nodes.shape[0] - 1)])
    last = torch.tensor([nodes.shape[1] - 1, nodes.shape[0] - 1]).to(xy)
    position = xy / spacing
    inside = ((position >= 0) & (position <= last)).to(xy)
    position = position.clamp(torch.zeros_like(last), last)
    corner = torch.minimum(position.floor(), last - 1)
    fraction = (position - corner)[..., None, :]
    column, row = corner.long().unbind(-1)
    top, bottom = (
        (nodes[row + down, column], nodes[row + down, column + 1] - nodes[row + down, column]) for down in (0, 1)
    )
    x, y = fraction.unbind(-1)
    upper, lower = (left + x * step for left, step in (top, bottom))
    slope = torch.stack([torch.lerp(top[1], bottom[1], y), lower - upper], -1)
    return torch.lerp(upper, lower, y), slope * (inside / spacing)[..., None, :]


def _look_up(image: Float[Tensor, "rows columns c"], xy: Positions) -> Float[Tensor, "h w c"]:
    """Pixels with their centres at +0.5, bilinear; beyond the image its border goes on."""
    rows, columns = image.shape[:2]
    x = (xy[..., 0] - 0.5).clamp(0, columns - 1)
    y = (xy[..., 1] - 0.5).clamp(0, rows - 1)
    left, top = x.floor().long(), y.floor().long()
    right, bottom = (left + 1).clamp(max=columns - 1), (top + 1).clamp(max=rows - 1)
    x, y = (x - left)[..., None], (y - top)[..., None]
    upper = torch.lerp(image[top, left], image[top, right], x)
    lower = torch.lerp(image[bottom, left], image[bottom, right], x)
    return torch.lerp(upper, lower, y)


def _tensor(array: np.ndarray, device: torch.device) -> Tensor:
    return torch.tensor(array, device=device)

"""Flow between frames far apart, which ties the ends of a clip together: short steps alone add up their errors.

Once it is known how a layer moves, one frame can be brought into the other's view first. What is left to be matched is
small, however far the camera went, so it is found as exactly as between neighbours. That is done layer by layer; each
pixel takes the flow of the layer that it belongs to.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as functional
from jaxtyping import Bool, Float, Float32, Int, UInt8
from torch import Tensor

from layerloom.core.geometry import Size, fit_long_edge, rescale_positions, transform_points
from layerloom.core.imaging import resize_all
from layerloom.core.parallel import thread_count
from layerloom.data.clip import FlowField, Masks, layer_coverage
from layerloom.prepare.flow.compute import FIELD_LONG_EDGE, PairMatcher
from layerloom.prepare.flow.consistency import LONGEST_PIXELS
from layerloom.prepare.flow.dis import FlowImages
from layerloom.prepare.flow.on_device import agreement_on_device, look_along, pixel_indices
from layerloom.prepare.motion import covered

MOST_PAIRS_AT_ONCE = 16
"""Matched together; on a CPU no more than there are cores, as each takes 40 MiB."""
SMALLEST_SHARE = 1e-4
"""Of the frame: a layer that shows less of itself is not matched."""
LARGEST_ZOOM = 4.0
"""In area; beyond, one frame's texture is not the other's."""

Matrices = Float32[Tensor, "n 3 3"]
Owned = Bool[Tensor, "n h w"]


def distant_flow(
    frames: UInt8[np.ndarray, "t h w 3"],
    masks: Masks,
    motion: Float[np.ndarray, "layers t 3 3"],
    out: Sequence[FlowField],
    matcher: PairMatcher,
    progress: Callable[[float], None] = lambda done: None,
) -> None:
    """Fill the fields of `out`, all of one size. `motion` is `estimate_motion`'s, at training size.

    A pixel of a layer that the other frame does not show gets confidence 0.
    """
    if not out:
        return
    device = matcher.device
    work_size = fit_long_edge(out[0].size, FIELD_LONG_EDGE)
    pictures = torch.from_numpy(resize_all(frames, work_size)).to(device)
    owners = torch.from_numpy(np.stack([covered(layer, work_size) for layer in layer_coverage(masks)])).to(device)
    to_small = np.diag([work_size[0] / frames.shape[2], work_size[1] / frames.shape[1], 1.0])
    motion = to_small @ motion @ np.linalg.inv(to_small)
    at_once = MOST_PAIRS_AT_ONCE if device.type != "cpu" else min(MOST_PAIRS_AT_ONCE, thread_count())
    for number, target in enumerate(out):
        step = target.step
        field = _DeviceField(len(frames) - step, work_size, device)
        tasks = np.array(list(_tasks(motion, owners, step)), int).reshape(-1, 2)
        for begin in range(0, len(tasks), at_once):
            part = tasks[begin : begin + at_once]
            layer, start = torch.from_numpy(part).to(device).unbind(1)
            carried = torch.from_numpy(_carried(motion, part[:, 0], part[:, 1], step)).float().to(device)
            brought = _bring(pictures[start + step], carried)
            there, back = matcher.match(pictures[start], brought)
            forward, backward = _whole_way(carried, there, back)
            field.enter(start, (owners[layer, start], owners[layer, start + step]), (forward, backward))
            progress((number + (begin + len(part)) / len(tasks)) / len(out))
        field.copy_to(target)


class _DeviceField:
    """A flow field that is being filled, layer by layer."""

    def __init__(self, pairs: int, size: Size, device: torch.device) -> None:
        shape = pairs, size[1], size[0]
        self.flows = [torch.zeros(*shape, 2, dtype=torch.float16, device=device) for _ in range(2)]
        self.confidences = [torch.zeros(shape, dtype=torch.uint8, device=device) for _ in range(2)]

    def enter(
        self, start: Int[Tensor, " n"], owners: tuple[Owned, Owned], both_ways: tuple[FlowImages, FlowImages]
    ) -> None:
        """Flow of a layer there and back, where the layer is in either frame; pairs may repeat, with other layers."""
        ways = zip(both_ways, both_ways[::-1], owners, self.flows, self.confidences, strict=True)
        for flow, opposite, own, flows, confidences in ways:
            # What a homography takes to infinity is nowhere.
            known = own & (flow.abs() < LONGEST_PIXELS).all(1) & opposite.isfinite().all(1)
            sure = agreement_on_device(flow.nan_to_num(), opposite.nan_to_num()) * known
            values = torch.where(known[:, None], flow, 0).permute(0, 2, 3, 1).half()
            for pair, mine, value, confidence in zip(start.tolist(), own, values, sure, strict=True):
                flows[pair] = torch.where(mine[..., None], value, flows[pair])
                confidences[pair] = torch.where(mine, confidence, confidences[pair])

    def copy_to(self, field: FlowField) -> None:
        """To the host, at the field's size."""
        targets = (field.forward, field.backward), (field.forward_confidence, field.backward_confidence)
        for flow, target in zip(self.flows, targets[0], strict=True):
            target[:] = _at_size(flow, field.size).cpu().numpy()
        for confidence, target in zip(self.confidences, targets[1], strict=True):
            target[:] = _at_size(confidence[..., None], field.size)[..., 0].cpu().numpy()


def _at_size(values: Tensor, size: Size) -> Tensor:
    """Fields (t h w c) at another size; displacements grow with it."""
    small = values.shape[2], values.shape[1]
    if small == size:
        return values
    large = functional.interpolate(values.permute(0, 3, 1, 2).float(), size[::-1], mode="bilinear").permute(0, 2, 3, 1)
    return (rescale_positions(large, small, size) if values.shape[3] == 2 else large).to(values.dtype)


def _tasks(
    motion: Float[np.ndarray, "layers t 3 3"], owners: Bool[Tensor, "layers t h w"], step: int
) -> Iterator[tuple[int, int]]:
    """Layers and first frames of the pairs that show the layer twice, not too differently large."""
    visible = (owners.float().mean((2, 3)) > SMALLEST_SHARE).cpu().numpy()
    for start in range(owners.shape[1] - step):
        for layer in map(int, np.flatnonzero(visible[:, start] & visible[:, start + step])):
            zoom = abs(np.linalg.det(_carried(motion, layer, start, step)))
            if 1 / LARGEST_ZOOM < zoom < LARGEST_ZOOM:
                yield layer, start


def _carried(
    motion: Float[np.ndarray, "layers t 3 3"],
    layer: int | Int[np.ndarray, " n"],
    start: int | Int[np.ndarray, " n"],
    step: int,
) -> Float[np.ndarray, "*n 3 3"]:
    """What takes positions in the first frame to the layer's in the last one."""
    carried = np.linalg.inv(motion[layer, start + step]) @ motion[layer, start]
    return carried / carried[..., 2:, 2:]


def _bring(pictures: UInt8[Tensor, "n h w 3"], motion: Matrices) -> UInt8[Tensor, "n h w 3"]:
    """The last frames as the layer's motion brings them into the first ones' view."""
    still = torch.zeros(len(pictures), 2, *pictures.shape[1:3], device=pictures.device)
    images = pictures.permute(0, 3, 1, 2).float()
    return look_along(images, _move(motion, still), "bicubic").permute(0, 2, 3, 1).round().clamp(0, 255).to(torch.uint8)


def _whole_way(motion: Matrices, there: FlowImages, back: FlowImages) -> tuple[FlowImages, FlowImages]:
    """Flow between the frames as they are, from the flow between the first one and what was brought into its view."""
    # From the last frame: into the first one's view, and on from there by the way back.
    brought = _move(torch.linalg.inv(motion), torch.zeros_like(back))
    return _move(motion, there), brought + look_along(back, brought)


def _move(motion: Matrices, flow: FlowImages) -> FlowImages:
    """Where the motion takes what the flow points to, relative to the pixel."""
    pixels = pixel_indices(flow.shape[3], flow.shape[2], flow.device) + 0.5
    end = (pixels + flow).permute(0, 2, 3, 1)
    return transform_points(motion[:, None, None], end).permute(0, 3, 1, 2) - pixels

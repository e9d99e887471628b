"""RAFT over a whole clip, or pair by pair: each frame is encoded once, many pairs are matched at a time, both ways.

On a GPU all of it is in half precision but the flow itself, many pairs at a time. Nothing in it
waits for the host: what comes back is copied while the next pairs are matched. A recorded CUDA graph would gain
nothing, since the kernels of so many pairs take longer than their launches.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float16, Float32, Int, UInt8
from torch import Tensor

from layerloom.core.geometry import Size, rescale_positions
from layerloom.data.clip import FlowField
from layerloom.prepare.flow.on_device import agreement_on_device
from layerloom.prepare.flow.raft_network import RaftSmall, padded
from layerloom.prepare.flow.refine import refine_flow

PICTURES_AT_ONCE = {"cpu": 1, "cuda": 8}
"""Encoded together."""
LARGEST_BYTES = 4 * 2**30
"""Of GPU memory for the pairs that are matched at once: eight ways at 1024×576, enough to keep a large GPU busy."""

Features = Float[Tensor, "n _ h w"]
FlowImage = Float[Tensor, "n 2 h w"]
AnyScale = Float[Tensor, "n _ _ _"]


def raft_fields(
    matcher: "RaftMatcher", fields: Sequence[FlowField], progress: Callable[[float], None]
) -> tuple[FlowField, ...]:
    """The fields, filled. Long ways start from nothing, too: RAFT sees all of the frame, and a chained guess made it
    worse."""
    by_step = {field.step: field for field in fields}
    pairs = [(start, start + step) for step in by_step for start in range(matcher.frames - step)]
    done = 0
    for match in matcher.matches(pairs):
        for i, (start, end) in enumerate(zip(match.first, match.second, strict=True)):
            field = by_step[end - start]
            field.forward[start], field.backward[start] = match.forward[i], match.backward[i]
            field.forward_confidence[start] = match.forward_confidence[i]
            field.backward_confidence[start] = match.backward_confidence[i]
        done += len(match.first)
        progress(done / len(pairs))
    return tuple(fields)


@dataclass(frozen=True)
class Match:
    """Flow between `first[i]` and `second[i]`, both ways, and its confidence 0…255 from their agreement."""

    first: Sequence[int]
    second: Sequence[int]
    forward: Float16[np.ndarray, "n height width 2"]
    backward: Float16[np.ndarray, "n height width 2"]
    forward_confidence: UInt8[np.ndarray, "n height width"]
    backward_confidence: UInt8[np.ndarray, "n height width"]


class RaftPairs:
    """Flow between pictures of which each belongs to one pair."""

    def __init__(self, network: RaftSmall, device: str) -> None:
        self.device = torch.device(device)
        self.dtype = _placed(network, self.device)
        self.network = network

    @torch.inference_mode()
    def __call__(
        self, first: UInt8[Tensor, "n h w 3"], second: UInt8[Tensor, "n h w 3"]
    ) -> tuple[Float32[Tensor, "n 2 h w"], Float32[Tensor, "n 2 h w"]]:
        """Flow there and back."""
        at_once = PICTURES_AT_ONCE[self.device.type]
        parts = [self._match(*pair) for pair in zip(first.split(at_once), second.split(at_once), strict=True)]
        there, back = (torch.cat(way) for way in zip(*parts, strict=True))
        return there, back

    def _match(self, first: UInt8[Tensor, "n h w 3"], second: UInt8[Tensor, "n h w 3"]) -> tuple[Tensor, ...]:
        height, width = first.shape[1:3]
        images = torch.cat([first, second]).permute(0, 3, 1, 2)
        matching, context = self.network.encode(padded(images.to(self.dtype) / 127.5 - 1))
        grey = _grey(images)
        flow = self.network.match(matching, matching.roll(len(first), 0), context)[:, :, :height, :width]
        return refine_flow(grey, grey.roll(len(first), 0), flow).split(len(first))


class RaftMatcher:
    """Flow between any of the clip's frames. Each frame is encoded once, however many pairs it belongs to.

    Fields are found at an eighth of the frames' size, and then made exact at `flow_size`.
    """

    def __init__(self, frames: UInt8[np.ndarray, "t h w 3"], network: RaftSmall, device: str, flow_size: Size) -> None:
        self.device = torch.device(device)
        self.dtype = _placed(network, self.device)
        self.network = network
        self.frames = len(frames)
        self.size, self.flow_size = (frames.shape[2], frames.shape[1]), flow_size
        at_once = PICTURES_AT_ONCE[self.device.type]
        encoded = [self._encode(frames[begin : begin + at_once]) for begin in range(0, len(frames), at_once)]
        self.matching, self.context, self.grey = (torch.cat(part) for part in zip(*encoded, strict=True))

    def matches(self, pairs: Sequence[tuple[int, int]]) -> Iterator[Match]:
        """All pairs of frames, some at a time. While the caller looks at some, the next are being matched."""
        waiting: _Returning | None = None
        at_once = self._pairs_at_once()
        for begin in range(0, len(pairs), at_once):
            following = self._begin(pairs[begin : begin + at_once])
            if waiting is not None:
                yield waiting.wait()
            waiting = following
        if waiting is not None:
            yield waiting.wait()

    def _pairs_at_once(self) -> int:
        """As many as LARGEST_BYTES or half of the free GPU memory hold the correlations of; one on the CPU."""
        if self.device.type != "cuda":
            return 1
        pixels = self.matching.shape[2] * self.matching.shape[3]
        # Both ways, in half precision: the four levels sum to 4/3 of the first; look-up and update block add some
        # 4,000 channels, and the flow at full size with its agreement some 40 bytes for each of 64 pixels.
        pair_bytes = 2 * pixels * (2 * pixels * 4 / 3 + 2 * 4000 + 40 * 64)
        free, _ = torch.cuda.mem_get_info(self.device)
        return int(max(1, min(LARGEST_BYTES, free / 2) // pair_bytes))

    @torch.inference_mode()
    def _begin(self, pairs: Sequence[tuple[int, int]]) -> "_Returning":
        """Both ways in one batch."""
        first, second = [a for a, _ in pairs], [b for _, b in pairs]
        here, there = (_on_device(numbers, self.device) for numbers in (first + second, second + first))
        flow = self.network.match(self.matching[here], self.matching[there], self.context[here])
        flow = self._at_flow_size(flow[:, :, : self.size[1], : self.size[0]])
        flow = refine_flow(self.grey[here], self.grey[there], flow)
        confidence = agreement_on_device(flow, flow.roll(len(pairs), 0))
        return _Returning(first, second, flow.permute(0, 2, 3, 1).half().contiguous(), confidence)

    def _at_flow_size(self, flow: FlowImage) -> Float[Tensor, "n 2 _ _"]:
        if self.flow_size == self.size:
            return flow
        small = F.interpolate(flow, self.flow_size[::-1], mode="bilinear", align_corners=False)
        return rescale_positions(small.movedim(1, -1), self.size, self.flow_size).movedim(-1, 1)

    @torch.inference_mode()
    def _encode(
        self, frames: UInt8[np.ndarray, "n height width 3"]
    ) -> tuple[Features, Features, Float32[Tensor, "n 1 _ _"]]:
        """Matching features, context features, and what flow is refined on."""
        images = torch.from_numpy(np.ascontiguousarray(frames)).to(self.device).permute(0, 3, 1, 2)
        small = F.interpolate(_grey(images), self.flow_size[::-1], mode="bilinear", antialias=True)
        return *self.network.encode(padded(images.to(self.dtype) / 127.5 - 1)), small


class _Returning:
    """Results on their way to the host."""

    def __init__(
        self,
        first: Sequence[int],
        second: Sequence[int],
        flow: Float16[Tensor, "both height width 2"],
        confidence: UInt8[Tensor, "both height width"],
    ) -> None:
        self.first, self.second = first, second
        self.flow, self.confidence = (_begin_return(part) for part in (flow, confidence))
        self.arrived = torch.cuda.current_stream(flow.device).record_event() if flow.is_cuda else None

    def wait(self) -> Match:
        if self.arrived is not None:
            self.arrived.synchronize()
        count = len(self.first)
        flow, confidence = self.flow.numpy(), self.confidence.numpy()
        return Match(self.first, self.second, flow[:count], flow[count:], confidence[:count], confidence[count:])


def _placed(network: RaftSmall, device: torch.device) -> torch.dtype:
    """Bring the network to a device, in the precision that suits it; which one is returned."""
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    network.to(device, dtype)
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] (missing in its stub)
    return dtype


def _grey(images: UInt8[Tensor, "n 3 height width"]) -> Float32[Tensor, "n 1 height width"]:
    return images.float().mean(1, keepdim=True) / 255


def _begin_return(values: Tensor) -> Tensor:
    """To page-locked memory of the host, which a GPU writes to by itself; as it is where there is no GPU."""
    if not values.is_cuda:
        return values
    return torch.empty(values.shape, dtype=values.dtype, pin_memory=True).copy_(values, non_blocking=True)


def _on_device(numbers: Sequence[int], device: torch.device) -> Int[Tensor, " n"]:
    """Through page-locked memory: a copy that the host does not wait for."""
    tensor = torch.tensor(numbers)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor

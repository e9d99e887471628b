"""RAFT-small (Teed and Deng, ECCV 2020) in plain PyTorch, reading the official state dict of the user's weights.

Recurrent flow: both frames become features at 1/8 size; the correlation of every pixel with every pixel is looked up
around the present estimate, at four scales; a convolutional GRU turns that into a correction, again and again.

On a GPU all of it is in half precision but the flow itself, many pairs at a time, both ways at once. Nothing in it
waits for the host: what comes back is copied while the next pairs are matched. A recorded CUDA graph would gain
nothing, since the kernels of so many pairs take longer than their launches.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float16, Float32, Int, UInt8
from torch import Tensor, nn

from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size, rescale_positions
from layerloom.prepare.flow.refine import look_along, pixel_indices, refine_flow

ITERATIONS = 12
LEVELS = 4
RADIUS = 3
STRIDE = 8
HIDDEN_CHANNELS = 96
PICTURES_AT_ONCE = {"cpu": 1, "cuda": 8}
"""Encoded together."""
LARGEST_BYTES = 4 * 2**30
"""Of GPU memory for the pairs that are matched at once: eight ways at 1024×576, enough to keep a large GPU busy."""

Image = Float[Tensor, "n 3 height width"]
Features = Float[Tensor, "n _ h w"]
FlowImage = Float[Tensor, "n 2 h w"]
AnyScale = Float[Tensor, "n _ _ _"]


class Convolution(nn.Conv2d):
    """With filters of odd size, padded to keep the image's; input channels beyond those it has weights for count
    nothing: multiples of eight suit a GPU's tensor cores."""

    def __init__(self, channels_in: int, channels: int, side: int, stride: int = 1) -> None:
        super().__init__(channels_in, channels, side, stride, side // 2)

    def forward(self, input: AnyScale) -> AnyScale:
        weight = F.pad(self.weight, (0, 0, 0, 0, 0, input.shape[1] - self.in_channels))
        return F.conv2d(input, weight, self.bias, self.stride, self.padding)


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1 convolutions around a skip connection."""

    def __init__(self, channels_in: int, channels: int, stride: int, normalise: bool) -> None:
        super().__init__()
        self.conv1 = Convolution(channels_in, channels // 4, 1)
        self.conv2 = Convolution(channels // 4, channels // 4, 3, stride)
        self.conv3 = Convolution(channels // 4, channels, 1)
        self.normalise = normalise
        self.downsample = nn.Sequential(Convolution(channels_in, channels, 1, stride)) if stride > 1 else None

    def forward(self, x: AnyScale) -> AnyScale:
        y = x
        for convolution in (self.conv1, self.conv2, self.conv3):
            y = F.relu(_normalised(convolution(y), self.normalise))
        if self.downsample is not None:
            x = _normalised(self.downsample(x), self.normalise)
        return F.relu(x + y)


class Encoder(nn.Module):
    """Image to features at 1/8 size."""

    def __init__(self, channels_out: int, normalise: bool) -> None:
        super().__init__()
        self.conv1 = Convolution(3, 32, 7, 2)
        self.layer1 = nn.Sequential(Bottleneck(32, 32, 1, normalise), Bottleneck(32, 32, 1, normalise))
        self.layer2 = nn.Sequential(Bottleneck(32, 64, 2, normalise), Bottleneck(64, 64, 1, normalise))
        self.layer3 = nn.Sequential(Bottleneck(64, 96, 2, normalise), Bottleneck(96, 96, 1, normalise))
        self.conv2 = Convolution(96, channels_out, 1)
        self.normalise = normalise

    def forward(self, image: AnyScale) -> Features:
        x = F.relu(_normalised(self.conv1(image), self.normalise))
        return self.conv2(self.layer3(self.layer2(self.layer1(x))))


class MotionEncoder(nn.Module):
    """Correlations and the present flow to motion features; the flow itself is passed on with them."""

    def __init__(self) -> None:
        super().__init__()
        self.convc1 = Convolution(LEVELS * (2 * RADIUS + 1) ** 2, 96, 1)
        self.convf1 = Convolution(2, 64, 7)
        self.convf2 = Convolution(64, 32, 3)
        self.conv = Convolution(128, 80, 3)

    def forward(self, flow: FlowImage, correlation: Features) -> Features:
        flow = _to_multiple_of_eight(flow)
        seen = F.relu(self.convc1(correlation))
        moved = F.relu(self.convf2(F.relu(self.convf1(flow))))
        return torch.cat([F.relu(self.conv(torch.cat([seen, moved], 1))), flow], 1)


class ConvGRU(nn.Module):
    def __init__(self, hidden: int, inputs: int) -> None:
        super().__init__()
        self.convz = Convolution(hidden + inputs, hidden, 3)
        self.convr = Convolution(hidden + inputs, hidden, 3)
        self.convq = Convolution(hidden + inputs, hidden, 3)

    def forward(self, state: Features, inputs: Features) -> Features:
        both = torch.cat([state, inputs], 1)
        update = torch.sigmoid(self.convz(both))
        reset = torch.sigmoid(self.convr(both))
        candidate = torch.tanh(self.convq(torch.cat([reset * state, inputs], 1)))
        return torch.lerp(state, candidate, update)


class FlowHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = Convolution(HIDDEN_CHANNELS, 128, 3)
        self.conv2 = Convolution(128, 2, 3)

    def forward(self, state: Features) -> FlowImage:
        return self.conv2(F.relu(self.conv1(state)))


class UpdateBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = MotionEncoder()
        self.gru = ConvGRU(HIDDEN_CHANNELS, 82 + 64)
        self.flow_head = FlowHead()

    def forward(self, state: Features, context: Features, correlation: Features, flow: FlowImage) -> Features:
        return self.gru(state, torch.cat([context, self.encoder(flow, correlation)], 1))


class RaftSmall(nn.Module):
    """Parameters named as in the official state dict, so that it loads strictly."""

    def __init__(self) -> None:
        super().__init__()
        self.fnet = Encoder(128, normalise=True)
        self.cnet = Encoder(HIDDEN_CHANNELS + 64, normalise=False)
        self.update_block = UpdateBlock()

    def encode(self, images: Image) -> tuple[Features, Features]:
        """Images in [-1, 1], sides multiples of 8, to matching features and context features at 1/8 size."""
        images = _to_multiple_of_eight(images)
        return self.fnet(images), self.cnet(images)

    def match(self, first: Features, second: Features, context: Features) -> Float32[Tensor, "n 2 height width"]:
        """Matching features of two images and the first one's context to flow, in pixels of the full size."""
        correlation = correlate(first, second)
        state, inputs = torch.split(context, [HIDDEN_CHANNELS, 64], 1)
        state, inputs = torch.tanh(state), torch.relu(inputs)
        grid = pixel_indices(first.shape[3], first.shape[2], first.device)
        flow = torch.zeros_like(grid).expand(len(first), -1, -1, -1)
        for _ in range(ITERATIONS):
            seen = look_up(correlation, grid + flow)
            state = self.update_block(state, inputs, seen, flow.to(state.dtype, memory_format=torch.channels_last))
            flow = flow + self.update_block.flow_head(state).float()
        return STRIDE * F.interpolate(flow, scale_factor=STRIDE, mode="bilinear", align_corners=True)


def correlate(first: Features, second: Features) -> Float[Tensor, "n pixels entries"]:
    """Per pixel of the first image the correlation with all pixels of the second and of its halvings, one level after
    the other, row by row. (The mean of correlations is the correlation with the mean.)"""
    levels = [second]
    while len(levels) < LEVELS:
        levels.append(F.avg_pool2d(levels[-1], 2))
    queries = first.flatten(2).transpose(1, 2) * first.shape[1] ** -0.5
    return torch.bmm(queries, torch.cat([level.flatten(2) for level in levels], 2))


def look_up(correlation: Float[Tensor, "n pixels entries"], centres: Float32[Tensor, "n 2 h w"]) -> Features:
    """Correlations in a (2·RADIUS+1)² window about `centres` (pixels of the second image) at every level; bilinear,
    0 outside of the image. The official weights expect a window's x offset to vary slowest.

    All of a window lies equally between pixels, so one more row and column than it has are read, and blended.
    """
    height, width = centres.shape[2:]
    level = torch.arange(LEVELS, device=centres.device)
    columns, rows = (width >> level)[:, None], (height >> level)[:, None]
    begin = (columns * rows).cumsum(0) - columns * rows
    centre = centres.flatten(2)[..., None] / 2**level
    corner = centre.floor()
    offset = torch.arange(-RADIUS, RADIUS + 2, device=centres.device)
    x, y = (corner.long()[..., None] + offset).unbind(1)
    column, row = x.clamp(min=0).minimum(columns - 1), y.clamp(min=0).minimum(rows - 1)
    at = (begin + column)[..., None] + (columns * row)[..., None, :]
    patch = correlation.gather(2, at.flatten(2)).view(at.shape)
    share_x, share_y = (centre - corner)[..., None].to(patch.dtype).unbind(1)
    patch = _blend(patch, (1 - share_x) * (x[..., :-1] == column[..., :-1]), share_x * (x[..., 1:] == column[..., 1:]))
    patch = patch.transpose(3, 4)
    patch = _blend(patch, (1 - share_y) * (y[..., :-1] == row[..., :-1]), share_y * (y[..., 1:] == row[..., 1:]))
    window = patch.transpose(3, 4).flatten(2)
    return _to_multiple_of_eight(window.unflatten(1, (height, width)).permute(0, 3, 1, 2))


def _blend(
    patch: Float[Tensor, "n pixels levels a b"],
    near: Float[Tensor, "n pixels levels c"],
    far: Float[Tensor, "n pixels levels c"],
) -> Float[Tensor, "n pixels levels c b"]:
    """Neighbours along the last axis but one, weighed and added."""
    return torch.addcmul(patch[..., :-1, :] * near[..., None], patch[..., 1:, :], far[..., None])


def agreement_on_device(flow: FlowImage, opposite: FlowImage) -> UInt8[Tensor, "n height width"]:
    """What `prepare.flow.agreement` computes, of many finite fields at once, where they are."""
    height, width = flow.shape[2:]
    target = pixel_indices(width, height, flow.device) + flow
    # What leaves the frame (by up to half a pixel, it does not) reads the border.
    miss = flow + look_along(opposite, flow)
    sigma = 1.0 + 0.01 * flow.square().sum(1).sqrt()
    confidence = torch.exp(-miss.square().sum(1) / sigma.square())
    x, y = target.unbind(1)
    inside = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    return (255 * confidence * inside).round().to(torch.uint8)


def load_raft(path: Path) -> RaftSmall:
    """The network with weights from the official raft-small state dict. LayerloomError for any other file."""
    network = RaftSmall()
    expected = network.state_dict()
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise LayerloomError(f"{path}: cannot read RAFT weights: {error.strerror or error}") from error
    except Exception as error:  # torch reports a damaged or foreign file by many kinds of error
        raise LayerloomError(f"{path}: not a PyTorch state dict; allowed: the official raft-small weights") from error
    state = cast(dict[str, Tensor], loaded) if isinstance(loaded, dict) else {}
    state = {str(name).removeprefix("module."): value for name, value in state.items()}
    if {k: getattr(v, "shape", None) for k, v in state.items()} != {k: v.shape for k, v in expected.items()}:
        raise LayerloomError(f"{path}: not the weights of RAFT-small (names or shapes differ); allowed: raft-small.pth")
    network.load_state_dict(state)
    return network.eval()


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
        matching, context = self.network.encode(_padded(images.to(self.dtype) / 127.5 - 1))
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
        return *self.network.encode(_padded(images.to(self.dtype) / 127.5 - 1)), small


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


def _to_multiple_of_eight(x: AnyScale) -> AnyScale:
    """More channels, of zeros, where their number is not a multiple of eight."""
    return F.pad(x, (0, 0, 0, 0, 0, -x.shape[1] % 8))


def _padded(image: AnyScale) -> AnyScale:
    height, width = image.shape[2:]
    return F.pad(image, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")


def _normalised(x: AnyScale, normalise: bool) -> AnyScale:
    return F.instance_norm(x) if normalise else x

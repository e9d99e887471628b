"""RAFT-small (Teed and Deng, ECCV 2020) in plain PyTorch, reading the official state dict of the user's weights.

Recurrent flow: both frames become features at 1/8 size; the correlation of every pixel with every pixel is looked up
around the present estimate, at four scales; a convolutional GRU turns that into a correction, again and again.

Here is the network; `raft` runs it over a clip.
"""

from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor, nn

from layerloom.core.errors import LayerloomError
from layerloom.prepare.flow.on_device import pixel_indices

ITERATIONS = 12
LEVELS = 4
RADIUS = 3
STRIDE = 8
HIDDEN_CHANNELS = 96

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


def _to_multiple_of_eight(x: AnyScale) -> AnyScale:
    """More channels, of zeros, where their number is not a multiple of eight."""
    return F.pad(x, (0, 0, 0, 0, 0, -x.shape[1] % 8))


def padded(image: AnyScale) -> AnyScale:
    """The image, continued beyond its border until its sides are multiples of STRIDE."""
    height, width = image.shape[2:]
    return F.pad(image, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")


def _normalised(x: AnyScale, normalise: bool) -> AnyScale:
    return F.instance_norm(x) if normalise else x

"""RAFT-small (Teed and Deng, ECCV 2020) in plain PyTorch, reading the official state dict of the user's weights.

Recurrent flow: both frames become features at 1/8 size; the correlation of every pixel with every pixel is looked up
around the present estimate, at four scales; a convolutional GRU turns that into a correction, again and again.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from layerloom.errors import UserError

ITERATIONS = 16
LEVELS = 4
RADIUS = 3
STRIDE = 8
HIDDEN_CHANNELS = 96

Image = Float[Tensor, "n 3 height width"]
Features = Float[Tensor, "n _ h w"]
FlowImage = Float[Tensor, "n 2 h w"]
AnyScale = Float[Tensor, "n _ _ _"]


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1 convolutions around a skip connection."""

    def __init__(self, channels_in: int, channels: int, stride: int, normalise: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels // 4, 1)
        self.conv2 = nn.Conv2d(channels // 4, channels // 4, 3, stride, 1)
        self.conv3 = nn.Conv2d(channels // 4, channels, 1)
        self.normalise = normalise
        self.downsample = nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride)) if stride > 1 else None

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
        self.conv1 = nn.Conv2d(3, 32, 7, 2, 3)
        self.layer1 = nn.Sequential(Bottleneck(32, 32, 1, normalise), Bottleneck(32, 32, 1, normalise))
        self.layer2 = nn.Sequential(Bottleneck(32, 64, 2, normalise), Bottleneck(64, 64, 1, normalise))
        self.layer3 = nn.Sequential(Bottleneck(64, 96, 2, normalise), Bottleneck(96, 96, 1, normalise))
        self.conv2 = nn.Conv2d(96, channels_out, 1)
        self.normalise = normalise

    def forward(self, image: Image) -> Features:
        x = F.relu(_normalised(self.conv1(image), self.normalise))
        return self.conv2(self.layer3(self.layer2(self.layer1(x))))


class MotionEncoder(nn.Module):
    """Correlations and the present flow to motion features; the flow itself is passed on with them."""

    def __init__(self) -> None:
        super().__init__()
        self.convc1 = nn.Conv2d(LEVELS * (2 * RADIUS + 1) ** 2, 96, 1)
        self.convf1 = nn.Conv2d(2, 64, 7, padding=3)
        self.convf2 = nn.Conv2d(64, 32, 3, padding=1)
        self.conv = nn.Conv2d(128, 80, 3, padding=1)

    def forward(self, flow: FlowImage, correlation: Features) -> Features:
        seen = F.relu(self.convc1(correlation))
        moved = F.relu(self.convf2(F.relu(self.convf1(flow))))
        return torch.cat([F.relu(self.conv(torch.cat([seen, moved], 1))), flow], 1)


class ConvGRU(nn.Module):
    def __init__(self, hidden: int, inputs: int) -> None:
        super().__init__()
        self.convz = nn.Conv2d(hidden + inputs, hidden, 3, padding=1)
        self.convr = nn.Conv2d(hidden + inputs, hidden, 3, padding=1)
        self.convq = nn.Conv2d(hidden + inputs, hidden, 3, padding=1)

    def forward(self, state: Features, inputs: Features) -> Features:
        both = torch.cat([state, inputs], 1)
        update = torch.sigmoid(self.convz(both))
        reset = torch.sigmoid(self.convr(both))
        candidate = torch.tanh(self.convq(torch.cat([reset * state, inputs], 1)))
        return (1 - update) * state + update * candidate


class FlowHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(HIDDEN_CHANNELS, 128, 3, padding=1)
        self.conv2 = nn.Conv2d(128, 2, 3, padding=1)

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
        return self.fnet(images).float(), self.cnet(images).float()

    def match(self, first: Features, second: Features, context: Features) -> Float[Tensor, "n 2 height width"]:
        """Matching features of two images and the first one's context to flow, in pixels of the full size."""
        pyramid = correlation_pyramid(first, second)
        state, inputs = torch.split(context, [HIDDEN_CHANNELS, 64], 1)
        state, inputs = torch.tanh(state), torch.relu(inputs)
        height, width = first.shape[2:]
        grid = torch.stack(
            torch.meshgrid(
                torch.arange(width, device=first.device), torch.arange(height, device=first.device), indexing="xy"
            )
        ).float()
        flow = torch.zeros_like(grid).expand(len(first), -1, -1, -1)
        for _ in range(ITERATIONS):
            correlation = look_up(pyramid, grid + flow)
            state = self.update_block(state, inputs, correlation, flow)
            flow = flow + self.update_block.flow_head(state).float()
        return STRIDE * F.interpolate(flow, scale_factor=STRIDE, mode="bilinear", align_corners=True)


def correlation_pyramid(first: Features, second: Features) -> list[Float[Tensor, "q 1 _ _"]]:
    """Per pixel q of the first image the correlation with each pixel of the second; averaged over 2×2, 4×4, 8×8."""
    count, channels, height, width = first.shape
    volume = torch.bmm(first.flatten(2).transpose(1, 2), second.flatten(2)) / channels**0.5
    pyramid = [volume.view(count * height * width, 1, height, width)]
    for _ in range(LEVELS - 1):
        pyramid.append(F.avg_pool2d(pyramid[-1], 2))
    return pyramid


def look_up(pyramid: Sequence[Float[Tensor, "q 1 _ _"]], centres: FlowImage) -> Features:
    """Correlations in a (2·RADIUS+1)² window about `centres` (pixels of the second image) at every level.

    The official weights expect a window's x offset to vary slowest.
    """
    count, _, height, width = centres.shape
    offset = torch.arange(-RADIUS, RADIUS + 1, device=centres.device, dtype=centres.dtype)
    window = torch.stack(torch.meshgrid(offset, offset, indexing="ij"), -1)
    points = centres.permute(0, 2, 3, 1).reshape(-1, 1, 1, 2)
    found: list[Tensor] = []
    for level, correlation in enumerate(pyramid):
        scale = torch.tensor([correlation.shape[3] - 1, correlation.shape[2] - 1], device=centres.device).clamp(min=1)
        sampled = F.grid_sample(correlation, 2 * (points / 2**level + window) / scale - 1, align_corners=True)
        found.append(sampled.view(count, height, width, -1))
    return torch.cat(found, -1).permute(0, 3, 1, 2)


def load_raft(path: Path) -> RaftSmall:
    """The network with weights from the official raft-small state dict. UserError for any other file."""
    network = RaftSmall()
    expected = network.state_dict()
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{path}: cannot read RAFT weights: {error.strerror or error}") from error
    except Exception as error:  # torch reports a damaged or foreign file by many kinds of error
        raise UserError(f"{path}: not a PyTorch state dict; allowed: the official raft-small weights") from error
    state = cast(dict[str, Tensor], loaded) if isinstance(loaded, dict) else {}
    state = {str(name).removeprefix("module."): value for name, value in state.items()}
    if {k: getattr(v, "shape", None) for k, v in state.items()} != {k: v.shape for k, v in expected.items()}:
        raise UserError(f"{path}: not the weights of RAFT-small (names or shapes differ); allowed: raft-small.pth")
    network.load_state_dict(state)
    return network.eval()


class RaftMatcher:
    """Flow between any two of the clip's frames. Each frame is encoded once, however many pairs it belongs to."""

    def __init__(self, frames: UInt8[np.ndarray, "t h w 3"], weights: Path, device: str) -> None:
        self.network = load_raft(weights).to(device)
        self.device = torch.device(device)
        self.frames = len(frames)
        self.shape = (frames.shape[1], frames.shape[2])
        with torch.inference_mode():
            encoded = [self._encode(frame) for frame in frames]
        self.matching = torch.cat([matching for matching, _ in encoded])
        self.context = torch.cat([context for _, context in encoded])

    @property
    def pairs_at_once(self) -> int:
        """As many as a third of the free GPU memory holds the correlations of; one on the CPU."""
        if self.device.type != "cuda":
            return 1
        pixels = self.matching.shape[2] * self.matching.shape[3]
        # The four levels sum to 4/3 of the first; lookups and update block add some 600 channels.
        pair_bytes = 4 * pixels * (pixels * 4 / 3 + 600)
        return int(min(16, max(1, torch.cuda.mem_get_info(self.device)[0] / 3 / pair_bytes)))

    @torch.inference_mode()
    def match(self, first: Sequence[int], second: Sequence[int]) -> Float32[np.ndarray, "n height width 2"]:
        """Flow in pixels from frames `first` to frames `second`."""
        height, width = self.shape
        with self._autocast():
            flow = self.network.match(self.matching[first], self.matching[second], self.context[first])
        return flow[:, :, :height, :width].permute(0, 2, 3, 1).contiguous().cpu().numpy()

    def _encode(self, frame: UInt8[np.ndarray, "height width 3"]) -> tuple[Features, Features]:
        image = torch.from_numpy(np.ascontiguousarray(frame)).to(self.device).permute(2, 0, 1)[None]
        with self._autocast():
            return self.network.encode(_padded(image.float() / 127.5 - 1))

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.float16, enabled=self.device.type == "cuda")


def _padded(image: AnyScale) -> AnyScale:
    height, width = image.shape[2:]
    return F.pad(image, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")


def _normalised(x: AnyScale, normalise: bool) -> AnyScale:
    return F.instance_norm(x) if normalise else x

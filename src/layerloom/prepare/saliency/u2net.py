"""U²-Net-P (Qin et al., "U²-Net: Going Deeper with Nested U-Structure for Salient Object Detection", 2020).

1.1 M parameters; it says of each pixel of a picture how likely it is part of what stands out there. Shown the
surroundings of one object it mostly answers with that object. The weights, in half precision, are the authors' own
(https://github.com/xuebinqin/U-2-Net, under u2netp.LICENSE), with the batch normalisations folded into convolutions.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as functional
from jaxtyping import Float, Float32, UInt8
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import Conv2d, Module, ModuleList

WEIGHTS = Path(__file__).with_name("u2netp.safetensors")
SIDE = 320
"""Side of the square that a picture is brought to, in pixels."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the colours that the network was trained on."""
CHANNELS, INNER = 64, 16
DEPTHS = (7, 6, 5, 4)
"""Of the U in each stage, from the finest on. Two stages more have a U of dilated convolutions instead."""
DILATIONS = (1, 2, 4, 8)
BATCH = {"cpu": 1, "cuda": 16}
"""Pictures at a time: the finest stage's features take 26 MB each, more than a CPU's caches hold of two."""

Features = Float[Tensor, "_n _c _h _w"]


def saliency(
    pictures: Sequence[UInt8[np.ndarray, "_h _w 3"]], device: str | torch.device = "cpu", side: int = SIDE
) -> Float32[np.ndarray, "n side side"]:
    """How likely each point of each RGB picture (of any size and shape) is part of what stands out in it, in [0, 1].

    Each picture is stretched to a square of `side` pixels, and so is its answer. The network was trained at SIDE; at
    two thirds of it takes a third of the time, and thin things are lost.
    """
    device = torch.device(device)
    network, batch = _network(device), BATCH[device.type]
    found = np.empty((len(pictures), side, side), np.float32)
    with torch.inference_mode():
        for first in range(0, len(pictures), batch):
            part = slice(first, first + batch)
            squares = np.stack([_normalised(picture, side) for picture in pictures[part]])
            images = torch.from_numpy(squares).to(device).permute(0, 3, 1, 2)  # in memory: channels last
            found[part] = network(images)[:, 0].float().cpu().numpy()
    return found


def _normalised(picture: UInt8[np.ndarray, "h w 3"], side: int) -> Float32[np.ndarray, "side side 3"]:
    shrinking = min(picture.shape[:2]) > side
    square = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)
    brightest = max(int(square.max()), 1)
    return (square / np.float32(brightest) - np.array(MEAN, np.float32)) / np.array(DEVIATION, np.float32)


@lru_cache(maxsize=2)
def _network(device: torch.device) -> "U2Net":
    """The network with its weights, on a device. Kept: reading it takes as long as a picture."""
    network = U2Net()
    network.load_state_dict({name: weight.float() for name, weight in load_file(WEIGHTS).items()})
    network = network.requires_grad_(False).eval().to(device)
    return network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] (PyTorch's stubs lack it)


class U2Net(Module):
    """A U of stages, each of which is a U itself; each decoding stage gives a map of its own, and these are weighed."""

    def __init__(self) -> None:
        super().__init__()
        encoder = [_deepening(3 if number == 0 else CHANNELS, depth) for number, depth in enumerate(DEPTHS)]
        self.encoder = ModuleList([*encoder, _dilating(CHANNELS), _dilating(CHANNELS)])
        decoder = [_deepening(2 * CHANNELS, depth) for depth in reversed(DEPTHS)]
        self.decoder = ModuleList([_dilating(2 * CHANNELS), *decoder])
        self.sides = ModuleList([Conv2d(CHANNELS, 1, 3, padding=1) for _ in range(6)])
        self.fuse = Conv2d(6, 1, 1)

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 1 h w"]:
        """Normalised images to probabilities."""
        features = images
        encoded: list[Tensor] = []
        for number, stage in enumerate(self.encoder):
            features = stage(_halved(features) if number else features)
            encoded.append(features)
        decoded = [encoded.pop()]
        for stage, beside in zip(self.decoder, reversed(encoded), strict=True):
            decoded.append(stage(torch.cat([_resized(decoded[-1], beside), beside], 1)))
        maps = [side(features) for side, features in zip(self.sides, reversed(decoded), strict=True)]
        return self.fuse(torch.cat([_resized(map_, images) for map_ in maps], 1)).sigmoid_()


class _Block(Module):
    """Convolutions in the shape of a U whose outcome is added to what went in (residual U-block)."""

    def __init__(self, channels_in: int, dilations: Sequence[int], halves: bool) -> None:
        """dilations: of the way down; the way up repeats all but the last. `halves`: each level but the first and the
        last sees half the size of the one before."""
        super().__init__()
        self._halves = halves
        self.enter = _convolution(channels_in, CHANNELS, 1)
        channels = (CHANNELS, *(INNER for _ in dilations[1:]))
        self.down = ModuleList([_convolution(c, INNER, d) for c, d in zip(channels, dilations, strict=True)])
        leaving = (*(INNER for _ in dilations[2:]), CHANNELS)
        rising = zip(leaving, reversed(dilations[:-1]), strict=True)
        self.up = ModuleList([_convolution(2 * INNER, c, d) for c, d in rising])

    def forward(self, features: Features) -> Features:
        entered = self.enter(features).relu_()
        levels = list(self._levels(entered))
        now = levels.pop()
        for convolution, beside in zip(self.up, reversed(levels), strict=True):
            now = convolution(torch.cat([_resized(now, beside), beside], 1)).relu_()
        return now + entered

    def _levels(self, features: Features) -> Iterator[Features]:
        for number, convolution in enumerate(self.down):
            if self._halves and 0 < number < len(self.down) - 1:
                features = _halved(features)
            features = convolution(features).relu_()
            yield features


def _deepening(channels_in: int, depth: int) -> _Block:
    """Each level sees half the size of the one before; the last is dilated instead."""
    return _Block(channels_in, (*(1 for _ in range(depth - 1)), 2), halves=True)


def _dilating(channels_in: int) -> _Block:
    return _Block(channels_in, DILATIONS, halves=False)


def _convolution(channels_in: int, channels: int, dilation: int) -> Conv2d:
    return Conv2d(channels_in, channels, 3, padding=dilation, dilation=dilation)


def _halved(features: Features) -> Features:
    return functional.max_pool2d(features, 2, 2, ceil_mode=True)


def _resized(features: Features, like: Features) -> Features:
    size = like.shape[2:]
    if features.shape[2:] == size:
        return features
    return functional.interpolate(features, size=size, mode="bilinear", align_corners=False)

"""LPIPS (Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018), its v0.1.

Two pictures are as far apart as the features that a trained network sees in them. The network, AlexNet or VGG16
without its classifier, is the user's; what weighs its channels is the authors' own, in lpips.safetensors (from lpips
0.1.4, https://github.com/richzhang/PerceptualSimilarity, under lpips.LICENSE).
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as functional
from jaxtyping import Float, Float32
from safetensors.torch import load_file
from torch import Tensor

from layerloom.core.errors import LayerloomError

HEADS = Path(__file__).with_suffix(".safetensors")
"""Of each trunk and stage, a weight ≥ 0 for each channel."""
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""Colours in [−1, 1] less the shift, over the scale, are what the trunks were trained on: the `ScalingLayer`."""
SMALLEST_SIDE = 31
"""Of a picture, in pixels: AlexNet's last stages see one value of less."""
EPSILON = 1e-10

Features = Float[Tensor, "1 c h w"]


class Convolution(NamedTuple):
    """One of a trunk's convolutions, followed by a ReLU."""

    number: int
    """In torchvision's `features`."""
    channels_in: int
    channels: int
    side: int = 3
    stride: int = 1
    padding: int = 1
    pool: int = 0
    """Side of the maximum pooling, two pixels apart, that comes before it; 0 for none."""
    is_stage: bool = True
    """Whether pictures are compared by what comes out of it."""


TRUNKS = {
    "alexnet": (
        Convolution(0, 3, 64, side=11, stride=4, padding=2),
        Convolution(3, 64, 192, side=5, padding=2, pool=3),
        Convolution(6, 192, 384, pool=3),
        Convolution(8, 384, 256),
        Convolution(10, 256, 256),
    ),
    "vgg16": (
        Convolution(0, 3, 64, is_stage=False),
        Convolution(2, 64, 64),
        Convolution(5, 64, 128, pool=2, is_stage=False),
        Convolution(7, 128, 128),
        Convolution(10, 128, 256, pool=2, is_stage=False),
        Convolution(12, 256, 256, is_stage=False),
        Convolution(14, 256, 256),
        Convolution(17, 256, 512, pool=2, is_stage=False),
        Convolution(19, 512, 512, is_stage=False),
        Convolution(21, 512, 512),
        Convolution(24, 512, 512, pool=2, is_stage=False),
        Convolution(26, 512, 512, is_stage=False),
        Convolution(28, 512, 512),
    ),
}


class Lpips:
    """The distance with one trunk's weights."""

    def __init__(self, path: Path) -> None:
        """path: state dict of AlexNet or VGG16 as torchvision publishes it (.pth or .safetensors), told apart by its
        names; the classifier's entries are ignored. LayerloomError for any other file."""
        state = _read(path)
        name = _name_of(path, state)
        self._trunk = TRUNKS[name]
        self._weights = [_weights_of(path, name, state, convolution) for convolution in self._trunk]
        heads = load_file(HEADS)
        stages = sum(convolution.is_stage for convolution in self._trunk)
        self._heads = [heads[f"{name}.{stage}"].view(1, -1, 1, 1) for stage in range(stages)]

    @torch.no_grad()
    def distances(
        self, picture: Float32[np.ndarray, "h w 3"], others: Sequence[Float32[np.ndarray, "h w 3"]]
    ) -> list[float]:
        """From a picture in [0, 1] to each of the others, 0 for the same; sides of SMALLEST_SIDE and more.

        Σ over stages of the mean over pixels of Σ_c w_c (f_c / |f| − g_c / |g|)², f and g the stage's channels.
        """
        seen = list(self._stages(picture))
        distances: list[float] = []
        for other in others:
            stages = zip(seen, self._stages(other), self._heads, strict=True)
            parts = [
                (head * (first - second).square()).sum(1).mean(dtype=torch.float64) for first, second, head in stages
            ]
            distances.append(float(torch.stack(parts).sum()))
        return distances

    def _stages(self, picture: Float32[np.ndarray, "h w 3"]) -> Iterator[Features]:
        """Features of each stage, of length one at every pixel."""
        colours = 2 * torch.from_numpy(np.ascontiguousarray(picture)) - 1
        features = ((colours - torch.tensor(SHIFT)) / torch.tensor(SCALE)).permute(2, 0, 1)[None]
        for convolution, (weight, bias) in zip(self._trunk, self._weights, strict=True):
            if convolution.pool:
                features = functional.max_pool2d(features, convolution.pool, 2)
            features = functional.conv2d(features, weight, bias, convolution.stride, convolution.padding).relu_()
            if convolution.is_stage:
                yield features / (features.square().sum(1, keepdim=True).sqrt() + EPSILON)


def _read(path: Path) -> Mapping[str, Tensor]:
    """A state dict's tensors by name; nothing that a file holds is run."""
    try:
        loaded = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except OSError as error:
        raise LayerloomError(f"{path}: cannot read weights: {error.strerror or error}") from error
    except Exception as error:  # damaged and foreign files are reported by many kinds of error
        raise LayerloomError(
            f"{path}: not a state dict; allowed: AlexNet's or VGG16's, .pth or .safetensors"
        ) from error
    entries = loaded.items() if isinstance(loaded, Mapping) else ()
    return {str(name): value for name, value in entries if isinstance(value, Tensor)}


def _name_of(path: Path, state: Mapping[str, Tensor]) -> str:
    """Which trunk it is that has these names."""
    held = {name for name in state if name.startswith("features.")}
    for name, trunk in TRUNKS.items():
        if held == {f"features.{convolution.number}.{part}" for convolution in trunk for part in ("weight", "bias")}:
            return name
    found = f"its {len(held)} entries features.* are another network's" if held else "it has no entries features.*"
    raise LayerloomError(f"{path}: not AlexNet or VGG16 as torchvision publishes them: {found}")


def _weights_of(
    path: Path, name: str, state: Mapping[str, Tensor], convolution: Convolution
) -> tuple[Float32[Tensor, "o i side side"], Float32[Tensor, " o"]]:
    side, channels = convolution.side, convolution.channels
    shapes = {"weight": (channels, convolution.channels_in, side, side), "bias": (channels,)}
    tensors = {part: state[f"features.{convolution.number}.{part}"] for part in shapes}
    for part, found in tensors.items():
        if tuple(found.shape) != shapes[part] or not found.is_floating_point():
            raise LayerloomError(
                f"{path}: features.{convolution.number}.{part} is {tuple(found.shape)}, {found.dtype};"
                f" that of {name} is {shapes[part]}, floats"
            )
    return tensors["weight"].float(), tensors["bias"].float()

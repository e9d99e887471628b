"""The one dial: how much time the result is worth. Sizes and lengths are its consequences."""

from typing import Literal, get_args

from layerloom.core.device import DeviceType
from layerloom.core.errors import LayerloomError

Quality = Literal["draft", "standard", "fine"]


def check_quality(name: str) -> Quality:
    """LayerloomError unless the dial has this position."""
    for quality in get_args(Quality):
        if name == quality:
            return quality
    raise LayerloomError(f"quality '{name}': allowed are {', '.join(get_args(Quality))}")


def default_long_edge(quality: Quality, device: DeviceType) -> int:
    """Training size, longer side in pixels: what is learned in minutes on a CPU; the footage's own, up to 1080p and
    beyond, on a GPU.
    """
    if device == "cpu":
        return {"draft": 384, "standard": 640, "fine": 960}[quality]
    return {"draft": 960, "standard": 1920, "fine": 4096}[quality]

"""A GPU loads kernels, and compiles them where it never did, when they are first launched. That can happen early."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from layerloom.core.geometry import Size
from layerloom.data.clip import Clip, FlowFields, Masks, SourceReference
from layerloom.train.settings import settings_for
from layerloom.train.trainer import Trainer

FRAMES = 2
FLOW_SIZE = (32, 18)


def warm_up(size: Size, device: torch.device) -> None:
    """Take two steps on a clip of nothing, with an object, at a training size.

    It draws from PyTorch's own generator, so it must have ended before a real training starts.
    """
    trainer = Trainer(_blank_clip(size), settings_for("standard", device.type), device)
    trainer.take_unrecorded_steps()


def _blank_clip(size: Size) -> Clip:
    width, height = size
    coverage = np.zeros((1, FRAMES, height, width), np.uint8)
    coverage[..., : height // 2, : width // 2] = 255
    flow = np.zeros((1, 2, FRAMES, FLOW_SIZE[1], FLOW_SIZE[0], 2), np.float16)
    times = tuple(Fraction(frame) for frame in range(FRAMES))
    return Clip(
        np.zeros((FRAMES, height, width, 3), np.uint8),
        Masks(("object",), coverage, np.full_like(coverage, 255)),
        FlowFields((1,), flow, np.full(flow.shape[:-1], 255, np.uint8)),
        np.tile(np.eye(3), (2, FRAMES, 1, 1)),
        SourceReference(Path(), "", size, 0, FRAMES, Fraction(1), times),
    )

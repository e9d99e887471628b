"""A GPU loads kernels, and compiles them where it never did, when they are first launched. That can happen early."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from layerloom.clip import Clip, FlowField, Masks, SourceReference
from layerloom.conventions import Size
from layerloom.train.config import settings_for
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
    flow = np.zeros((FRAMES - 1, FLOW_SIZE[1], FLOW_SIZE[0], 2), np.float16)
    sure = np.full(flow.shape[:3], 255, np.uint8)
    times = tuple(Fraction(frame) for frame in range(FRAMES))
    return Clip(
        np.zeros((FRAMES, height, width, 3), np.uint8),
        Masks(("object",), coverage, np.full_like(coverage, 255)),
        (FlowField(1, flow, flow, sure, sure),),
        np.tile(np.eye(3), (2, FRAMES, 1, 1)),
        SourceReference(Path(), "", size, 0, FRAMES, Fraction(1), times),
    )

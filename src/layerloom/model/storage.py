"""A field as arrays that a project stores, and back: parameters, canvases, motion, and the masks' log odds.

The odds are 0 nearly everywhere or saturated, so they are stored deflated (zlib), for all objects and frames at once.
"""

import math
import zlib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import torch

from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size
from layerloom.model.field import FieldSettings, LayeredField

EXTRA = ("canvases", "motion", "alpha_start", "alpha_start_shape")


def field_to_arrays(field: LayeredField) -> dict[str, np.ndarray]:
    """Everything `field_from_arrays` needs beside size and settings."""
    layers = [field.layer(index) for index in range(len(field.layers))]
    codes = field.alpha_start.cpu().numpy()
    return {
        **{name: value.cpu().numpy() for name, value in field.state_dict().items()},
        "canvases": np.array([layer.canvas for layer in layers], np.int64),
        "motion": torch.stack([layer.motion for layer in layers]).cpu().numpy(),
        "alpha_start": np.frombuffer(zlib.compress(codes.tobytes(), 1), np.uint8),
        "alpha_start_shape": np.array(codes.shape, np.int64),
    }


def field_from_arrays(
    arrays: Mapping[str, np.ndarray], size: Size, settings: Mapping[str, Any], device: torch.device
) -> LayeredField:
    """The field as it was when it was stored. settings: `FieldSettings` as JSON keeps it (lists for tuples).

    LayerloomError if the arrays are not those of such a field.
    """
    if not set(EXTRA) <= set(arrays):
        raise LayerloomError("the project holds no networks that can be evaluated; decompose the footage again")
    known = {entry.name for entry in fields(FieldSettings)}
    values: dict[str, Any] = {name: _from_json(value) for name, value in settings.items() if name in known}
    try:
        canvases = tuple((int(width), int(height)) for width, height in arrays["canvases"])
        shape = tuple(int(side) for side in arrays["alpha_start_shape"])
        if shape[2:] != size[::-1] or len(canvases) > shape[0] + 1:
            raise ValueError("alpha_start is of another size")
        # No more than there should be: a few bytes may unpack to gigabytes.
        codes = zlib.decompressobj().decompress(arrays["alpha_start"].tobytes(), max(1, math.prod(shape)))
        codes = np.frombuffer(codes, np.uint8).reshape(shape)
        motion, start = torch.from_numpy(arrays["motion"].copy()), torch.from_numpy(codes.copy())
        field = LayeredField(size, shape[1], canvases, motion, start, FieldSettings(**values))
        field.load_state_dict(
            {name: torch.from_numpy(value.copy()) for name, value in arrays.items() if name not in EXTRA}
        )
    except (zlib.error, RuntimeError, ValueError, TypeError) as error:
        raise LayerloomError(f"the project's networks are damaged: {str(error).splitlines()[0]}") from None
    return field.to(device).eval().requires_grad_(False)


def _from_json(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value

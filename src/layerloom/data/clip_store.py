"""Prepared clips in a cache folder: preparing the same again takes a moment, and needs no memory for it.

A clip is an entry of an `ArrayStore`, under a key that is a hash of all that decides what is prepared (`prepare.key`
says what that is). Its arrays are memory-mapped.
"""

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from layerloom.core.errors import LayerloomError
from layerloom.data.array_store import Arrays, ArrayStore, DamagedEntry
from layerloom.data.clip import Clip, FlowFields, Masks, SourceReference, check_layer_names

DEFAULT_GIB, MOST_GIB = 20.0, 1e6
SHAPES: Mapping[str, tuple[str, int]] = {
    "frames": ("uint8", 4),
    "coverage": ("uint8", 4),
    "trust": ("uint8", 4),
    "vectors": ("float16", 6),
    "confidence": ("uint8", 5),
    "motion": ("float64", 4),
}
"""Type and number of axes of a clip's arrays."""


class Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What else a clip is. notes: what was said to the user while it was prepared."""

    layers: tuple[str, ...]
    flow_steps: tuple[int, ...]
    notes: tuple[str, ...]


def find_clip(store: ArrayStore, key: str, source: SourceReference) -> tuple[Clip, tuple[str, ...]] | None:
    """The clip of a source that was kept under a key, and its notes; None if there is none.

    Raises DamagedEntry, with the entry gone, where there was one that cannot be used.
    """
    found = store.find(key)
    if found is None:
        return None
    try:
        facts = msgspec.convert(dict(found.facts), Facts)
        return _to_clip(found.arrays, facts, source), facts.notes
    except (DamagedEntry, msgspec.ValidationError, ValueError, LayerloomError) as error:
        store.drop(key)
        raise DamagedEntry(str(error)) from error


def keep_clip(store: ArrayStore, key: str, clip: Clip, notes: Sequence[str] = ()) -> Clip:
    """Write a clip under a key, and hand it back memory-mapped.

    LayerloomError where there is no room; OSError where it cannot be written.
    """
    arrays = {
        "frames": clip.frames,
        "coverage": clip.masks.coverage,
        "trust": clip.masks.trust,
        "vectors": clip.flow.vectors,
        "confidence": clip.flow.confidence,
        "motion": clip.motion.astype(np.float64),
    }
    steps = tuple(int(step) for step in clip.flow.steps)
    facts = Facts(clip.masks.names, steps, tuple(notes))
    kept = store.keep(key, Arrays(arrays, msgspec.to_builtins(facts)), str(clip.source.path))
    return replace(_to_clip(kept.arrays, facts, clip.source), preparation=clip.preparation)


def open_store(place: str | Path | None = None, limit_gib: float | None = None) -> ArrayStore | None:
    """The store in a folder; None where `place` is "off".

    What is not given comes from the environment: LAYERLOOM_CACHE is a folder, or "off", by default `layerloom` in the
    user's cache folder (XDG_CACHE_HOME, or ~/.cache); LAYERLOOM_CACHE_GIB is how much it may hold, 20 by default.
    LayerloomError for a number that is none.
    """
    place = place or os.environ.get("LAYERLOOM_CACHE", "")
    if str(place).lower() == "off":
        return None
    base = os.environ.get("XDG_CACHE_HOME", "")
    folder = Path(place) if place else (Path(base) if base else Path("~/.cache")) / "layerloom"
    with contextlib.suppress(RuntimeError):  # a user without a home
        folder = folder.expanduser()
    given = os.environ.get("LAYERLOOM_CACHE_GIB", "") if limit_gib is None else limit_gib
    return ArrayStore(folder, _in_bytes(DEFAULT_GIB if given == "" else given))


def _in_bytes(gib: str | float) -> int:
    try:
        number = float(gib)
    except ValueError:
        number = -1.0
    if not 0 <= number <= MOST_GIB:
        raise LayerloomError(f"a cache of '{gib}' GiB: allowed are 0 to {MOST_GIB:.0f}", "cache_gib")
    return int(number * 2**30)


def _to_clip(arrays: Mapping[str, np.ndarray], facts: Facts, source: SourceReference) -> Clip:
    """DamagedEntry, ValueError or LayerloomError where anything is not as a Clip's has to be."""
    kinds = {name: (str(array.dtype), array.ndim) for name, array in arrays.items()}
    if kinds != SHAPES:
        raise DamagedEntry("its arrays are not a clip's")
    check_layer_names(facts.layers)
    masks = Masks(facts.layers, arrays["coverage"], arrays["trust"])
    flow = FlowFields(facts.flow_steps, arrays["vectors"], arrays["confidence"])
    clip = Clip(arrays["frames"], masks, flow, arrays["motion"], source)
    agree = (
        masks.trust.shape == masks.coverage.shape
        and len(masks.names) == len(masks.coverage)
        and flow.vectors.shape == (*flow.confidence.shape, 2)
        and flow.confidence.shape[:3] == (len(flow.steps), 2, len(clip.frames))
        and clip.frames.shape[3] == 3
        and clip.motion.shape[1:] == (len(clip.frames), 3, 3)
    )
    if not agree:
        raise DamagedEntry("its arrays do not fit together")
    return clip

"""By what a prepared clip is known: a hash of all that decides what is in it."""

import hashlib
from collections.abc import Hashable
from functools import cache
from pathlib import Path

import av
import cv2
import torch

from layerloom.core.geometry import Size
from layerloom.data.clip import SourceReference
from layerloom.data.content import content_hash
from layerloom.data.selection import Selection
from layerloom.prepare.flow.compute import FlowSource

PACKAGES = ("core", "media", "data", "ops", "prepare")
"""Whose code prepares: a clip is not taken for what an older or newer layerloom would have made of it."""


def clip_key(source: SourceReference, size: Size, masks: Path | Selection | None, flow: FlowSource) -> str:
    """Of footage and masks the content counts, not the place; of flow its method, device, weights or files.

    size: the training size. masks: given ones, or hints from which they are made.
    """
    folder = source.path if source.path.is_dir() else source.path.parent
    footage = None if source.path.is_file() else [file for file in folder.iterdir() if file.is_file()]
    of_files = flow.method not in ("dis", "raft")
    decisive = (
        _code_hash(),
        content_hash(source.path if footage is None else folder, footage),
        (source.size, source.first_frame, source.frames, source.fps, source.timestamps),
        source.description,
        size,
        _hash_of_selection(masks) if isinstance(masks, Selection) else masks and content_hash(masks),
        content_hash(Path(flow.method)) if of_files else flow.method,
        content_hash(flow.weights) if flow.method == "raft" and flow.weights else None,
        flow.device,
    )
    return hashlib.sha256(repr(decisive).encode()).hexdigest()[:32]


def _hash_of_selection(selection: Selection) -> str:
    """Of painted masks in it the content counts, too."""
    told: list[Hashable] = []
    for each in selection.objects:
        for hint in each.hints:
            rough = hint.frame, hint.box, hint.include, hint.exclude, hint.radius, hint.absent
            told.append((each.name, rough, None if hint.mask is None else content_hash(hint.mask)))
    return repr(told)


@cache
def _code_hash() -> str:
    package = Path(__file__).parents[1]
    modules = [file for name in PACKAGES for file in (package / name).rglob("*.py")]
    libraries = cv2.__version__, av.__version__, torch.__version__
    return f"{content_hash(package, modules)} {libraries}"

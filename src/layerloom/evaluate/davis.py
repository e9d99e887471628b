"""Mattes against given masks: J and F as DAVIS measures and sums them up, and which matte is which mask's.

Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation", CVPR 2016; its
successor of 2017 counts the same way.
"""

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
from jaxtyping import Bool
from scipy.optimize import linear_sum_assignment

from layerloom.core.errors import LayerloomError
from layerloom.core.imaging import resize
from layerloom.data.clip import Masks
from layerloom.data.mattes import mattes
from layerloom.data.project import Project
from layerloom.evaluate.figures import MaskAgreement, Region, mean_or_none

BOUNDARY_TOLERANCE = 0.008
"""F lets an outline be off by this share of the picture's diagonal, rounded up to pixels."""
RECALL_ABOVE = 0.5
DECAY_BINS = 4
MATCHED_FRAMES = 12
"""Frames, spread over the clip, by which mattes are matched to masks of other names."""
LEAST_OVERLAP = 0.1
"""IoU below which a matte is no match at all."""

Where = Bool[np.ndarray, "h w"]


def boundary_f(found: Where, given: Where) -> float:
    """F, the harmonic mean of the shares of each outline that lie near the other. Two empty ones: 1; one: 0."""
    outlines = [_outline(found), _outline(given)]
    if not outlines[0].any() or not outlines[1].any():
        return float(not outlines[0].any() and not outlines[1].any())
    disk = _disk(int(np.ceil(BOUNDARY_TOLERANCE * float(np.hypot(*found.shape)))))
    near = [cv2.dilate(outline.astype(np.uint8), disk) > 0 for outline in outlines]
    precision = float(near[1][outlines[0]].mean())
    recall = float(near[0][outlines[1]].mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def sum_up(values: Sequence[float]) -> Region:
    """Mean, recall and decay over the frames; NaN where a frame has no mask."""
    known = np.asarray(values, np.float64)
    above = np.where(np.isnan(known), np.nan, known > RECALL_ABOVE)
    ends = np.round(np.linspace(1, max(len(known), 1), DECAY_BINS + 1) + 1e-10).astype(int) - 1
    quarters = [known[first : last + 1] for first, last in pairwise(ends)]
    first, last = mean_or_none(quarters[0].tolist()), mean_or_none(quarters[-1].tolist())
    return Region(
        mean=mean_or_none(known.tolist()),
        recall=mean_or_none(above.tolist()),
        decay=None if first is None or last is None else first - last,
    )


def agreement(layer: str | None, j: Sequence[float], f: Sequence[float]) -> MaskAgreement:
    """Of one object, from its J and F in every frame."""
    return MaskAgreement(layer=layer, j=sum_up(j), f=sum_up(f))


def match_masks(project: Project, masks: Masks) -> dict[str, int | None]:
    """The layer of each mask's object: by name where all names are layers', else by the greatest overlap in all.

    None for an object of which no matte has LEAST_OVERLAP. LayerloomError if the masks' size or number is another.
    """
    width, height = project.source.size
    if masks.coverage.shape[1:] != (project.source.frames, height, width):
        raise LayerloomError(
            f"masks are {masks.coverage.shape[1:]} (frames, height, width); {project.path} has"
            f" {(project.source.frames, height, width)}"
        )
    objects = {layer.name: number for number, layer in enumerate(project.layers) if layer.kind == "object"}
    if set(masks.names) <= objects.keys():
        return {name: objects[name] for name in masks.names}
    overlap = _overlaps(project, list(objects.values()), masks)
    rows, columns = linear_sum_assignment(overlap, maximize=True)
    matched = {
        masks.names[row]: list(objects.values())[column]
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
        if overlap[row, column] >= LEAST_OVERLAP
    }
    return {name: matched.get(name) for name in masks.names}


def _overlaps(project: Project, objects: Sequence[int], masks: Masks) -> np.ndarray:
    """IoU of each mask and each object's matte, over some frames, at training size."""
    size = project.training_size
    shared, either = (np.zeros((len(masks.names), len(objects))) for _ in range(2))
    for frame in np.unique(np.linspace(0, project.source.frames - 1, MATCHED_FRAMES).round().astype(int)).tolist():
        shares = mattes(project, frame)
        found = [resize(shares[layer], size) > 0.5 for layer in objects]
        for row, coverage in enumerate(masks.coverage[:, frame]):
            if masks.trust[row, frame].any():
                given = resize(coverage, size) > 127
                shared[row] += [np.count_nonzero(given & one) for one in found]
                either[row] += [np.count_nonzero(given | one) for one in found]
    return shared / np.maximum(either, 1)


def _outline(mask: Where) -> Where:
    """Pixels that differ from the next one to the right, below, or both: half a pixel off, on either side alike."""
    framed = np.pad(mask, ((0, 1), (0, 1)), "edge")
    return (mask != framed[:-1, 1:]) | (mask != framed[1:, :-1]) | (mask != framed[1:, 1:])


def _disk(radius: int) -> np.ndarray:
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return (x * x + y * y <= radius * radius).astype(np.uint8)

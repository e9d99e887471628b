"""Edits of a synthetic clip whose true result is known: painted textures, clean plates, and figures against them."""

from collections.abc import Iterator

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from layerloom import media
from layerloom.core.geometry import pixel_centres
from layerloom.data.project import Project
from layerloom.edits.document import Hide
from layerloom.evaluate import measures
from layerloom.evaluate.figures import EditAgreement, HiddenAgreement, mean_or_none, none_if_not_finite
from layerloom.render.stream import render_images
from layerloom.synthetic.clip import SyntheticClip

EDIT_LEVELS = 2.0
"""A pixel lies in an edit where the true edit changes it by more than this many 8-bit levels."""
EDIT_MARGIN_PX = 8
"""Pixels farther than this, in x or y, from all that the true edit changes at all lie outside it."""
SHADED = 0.1
"""Ground darkened by more than this share of a contact shadow's full darkness counts for it."""
BARE = 0.01
"""Ground less shaded and less covered than this has been seen as it is."""


def edit_figures(
    unedited_truth: Float32[np.ndarray, "t h w 3"],
    edited_truth: Float32[np.ndarray, "t h w 3"],
    source: UInt8[np.ndarray, "t h w 3"],
    edited: UInt8[np.ndarray, "t h w 3"],
    painted_frame: int,
) -> EditAgreement:
    """PSNR against the true edit inside of it, and whether the source is untouched outside."""
    true_change = np.abs(edited_truth - unedited_truth).max(-1)
    inside = true_change > EDIT_LEVELS / 255
    side = 2 * EDIT_MARGIN_PX + 1
    near = (
        np.stack([cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8)) for mask in true_change > 0]) > 0
    )
    changed = (edited != source).any(-1) & ~near
    carried = np.arange(len(source)) != painted_frame
    return EditAgreement(
        psnr_inside_db=none_if_not_finite(
            measures.psnr(media.to_float(edited)[carried], edited_truth[carried], inside[carried])
        ),
        identical_outside=not changed.any(),
        changed_outside=float(changed.sum() / max((~near).sum(), 1)),
    )


def painted_textures(
    clip: SyntheticClip, frame: int, paint: Float32[np.ndarray, "h w 4"]
) -> tuple[Float32[np.ndarray, "_ _ 3"], ...]:
    """The clip's textures after painting on what one frame shows; `clip.render` of them is the truth of the painting.

    paint: straight RGBA. Each painted pixel goes to the layer with the largest share there, the light divided out.
    """
    owner = clip.alpha[:, frame].argmax(0)
    return tuple(
        _painted_texture(clip, layer, frame, np.dstack([paint[..., :3], paint[..., 3] * (owner == layer)]))
        for layer in range(len(clip.names))
    )


def hidden_figures(project: Project, clip: SyntheticClip) -> HiddenAgreement:
    """All objects hidden, against the true clean plate: where they were, and where their contact shadows were.

    Only pixels count whose ground some frame shows uncovered and out of contact shadows.
    """
    edits = [Hide(name) for name in clip.names[:-1]]
    covered: list[float] = []
    shaded: list[float] = []
    known = _bare_ground(clip)
    for frame, (picture, bare) in enumerate(zip(render_images(project, edits), known, strict=True)):
        plate, shown = clip.clean_plate(frame), media.to_float(picture)
        hidden = bare & (clip.alpha[-1, frame] < 1 - BARE)
        in_contact = bare & ~hidden & (clip.contact_shadow(frame) > SHADED)
        covered.append(measures.psnr(shown, plate, hidden))
        shaded.append(measures.psnr(shown, plate, in_contact))
    return HiddenAgreement(psnr_covered_db=mean_or_none(covered), psnr_contact_db=mean_or_none(shaded))


def _bare_ground(clip: SyntheticClip) -> Iterator[Bool[np.ndarray, "h w"]]:
    """For each frame, the pixels whose texel of the background some frame has shown bare."""
    height, width = clip.textures[-1].shape[:2]
    seen = np.zeros((height, width), np.uint8)
    texels = np.clip(np.floor(clip.uv[-1]).astype(np.int64), 0, (width - 1, height - 1))
    for frame, (column, row) in enumerate(np.moveaxis(texels, -1, 1)):
        bare = (clip.alpha[-1, frame] > 1 - BARE) & (clip.contact_shadow(frame) < BARE)
        seen[row[bare], column[bare]] = 1
    closed = cv2.morphologyEx(seen, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)) > 0  # texels between pixels
    for column, row in np.moveaxis(texels, -1, 1):
        yield closed[row, column]


def _painted_texture(
    clip: SyntheticClip, layer: int, frame: int, paint: Float32[np.ndarray, "h w 4"]
) -> Float32[np.ndarray, "H W 3"]:
    texture = clip.textures[layer]
    size = texture.shape[1], texture.shape[0]
    xy = clip.find_uv(layer, pixel_centres(size).reshape(-1, 2).astype(np.float64), frame)
    light = clip.lighting_at(layer, xy, frame).reshape(texture.shape)
    premultiplied = np.dstack([paint[..., :3] * paint[..., 3:], paint[..., 3]]).astype(np.float32)
    at = (xy.reshape(*texture.shape[:2], 2) - 0.5).astype(np.float32)
    # Beyond the frame's border there is no paint.
    laid = cv2.remap(premultiplied, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return (texture * (1 - laid[..., 3:]) + laid[..., :3] / light).astype(np.float32)

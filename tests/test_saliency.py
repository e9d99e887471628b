"""The network that sees what stands out is the authors' own: it says what their file says in onnxruntime."""

from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
from real_clips import CLIPS

from layerloom.prepare.saliency.u2net import SIDE, saliency

AUTHORS_FILE = CLIPS.parent / "weights" / "u2netp.onnx"
BLOCKS = 8
# What the authors' file says in onnxruntime 1.32.0 of `picture()`: means over 8 × 8 blocks, in thousandths.
AUTHORS = [
    [0, 0, 0, 0, 0, 0, 0, 0],
    [0, 0, 0, 0, 0, 0, 0, 0],
    [0, 0, 40, 219, 216, 30, 0, 0],
    [0, 191, 922, 1000, 1000, 670, 0, 0],
    [0, 420, 1000, 1000, 1000, 942, 4, 0],
    [0, 23, 488, 743, 675, 222, 0, 0],
    [0, 0, 0, 0, 0, 0, 0, 0],
    [0, 0, 0, 0, 0, 0, 0, 0],
]


def picture() -> np.ndarray:
    """A bright ellipse with a dark one before it, on a ground of waves."""
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    ground = 90 + 25 * np.sin(x / 11) * np.cos(y / 17)
    colours = np.stack([0.5 * ground, 1.1 * ground, 0.6 * ground], -1)
    colours[((x - 150) / 90) ** 2 + ((y - 170) / 60) ** 2 < 1] = (235, 180, 60)
    colours[((x - 190) / 30) ** 2 + ((y - 150) / 40) ** 2 < 1] = (60, 40, 150)
    return np.round(colours).clip(0, 255).astype(np.uint8)


def test_it_says_what_the_authors_file_says() -> None:
    found = saliency([picture()])[0]
    block = SIDE // BLOCKS
    means = found.reshape(BLOCKS, block, BLOCKS, block).mean((1, 3))
    assert np.abs(1000 * means - np.array(AUTHORS)).max() < 8


@pytest.mark.footage
def test_it_agrees_with_onnxruntime_on_footage(clips_directory: Path) -> None:
    if not AUTHORS_FILE.is_file():
        pytest.skip(f"no {AUTHORS_FILE}")
    session = onnxruntime.InferenceSession(AUTHORS_FILE, providers=["CPUExecutionProvider"])
    frames = [cv2.imread(str(clips_directory / name / "video_frames" / "00010.jpg")) for name in ("blackswan", "libby")]
    pictures = [np.ascontiguousarray(frame[..., ::-1]) for frame in frames]
    for found, seen in zip(saliency(pictures), pictures, strict=True):
        square = cv2.resize(seen, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
        colours = (square / square.max() - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
        (name,) = [entry.name for entry in session.get_inputs()]
        theirs = session.run(None, {name: colours.transpose(2, 0, 1)[None].astype(np.float32)})[0][0, 0]
        assert np.abs(found - theirs).mean() < 1e-3  # half precision of the weights
        assert ((found > 0.5) != (theirs > 0.5)).mean() < 1e-3


def test_pictures_do_not_depend_on_each_other() -> None:
    turned = np.ascontiguousarray(picture()[:, ::-1, ::-1])
    together = saliency([turned, picture()[:200]])
    assert np.array_equal(together[0], saliency([turned])[0])
    assert np.array_equal(together[1], saliency([picture()[:200]])[0])


def test_extremes() -> None:
    """No picture, one pixel, black: answers are probabilities."""
    assert saliency([]).shape == (0, SIDE, SIDE)
    for found in saliency([np.zeros((1, 1, 3), np.uint8), np.zeros((5, 700, 3), np.uint8)]):
        assert np.isfinite(found).all() and found.min() >= 0 and found.max() <= 1

"""A contact sheet shows frames, outlines and names."""

import numpy as np

from layerloom.data.clip import Masks
from layerloom.prepare.masks.contact_sheet import COLOURS, GAP_PIXELS, PICTURES, contact_sheet


def masks_of(frames: int, names: tuple[str, ...]) -> Masks:
    coverage = np.zeros((len(names), frames, 90, 160), np.uint8)
    for i in range(len(names)):
        coverage[i, :, 30:60, 20 + 50 * i : 50 + 50 * i] = 255
    return Masks(names, coverage, np.full_like(coverage, 255))


def test_each_frame_shows_each_objects_outline_in_its_colour() -> None:
    frames = np.full((3, 90, 160, 3), 90, np.uint8)
    sheet = contact_sheet(frames, masks_of(3, ("a", "b")))
    assert sheet.shape == (90, 3 * 160 + 2 * GAP_PIXELS, 3)
    for number in range(3):
        picture = sheet[:, number * (160 + GAP_PIXELS) :][:, :160].astype(int)
        for colour, left in zip(COLOURS, (20, 70), strict=False):
            rim = picture[45, left - 1 : left + 2]
            assert np.abs(rim - np.array(colour)).sum(-1).min() < 60
            inner = picture[45, left + 15]
            assert (inner != 90).any() and np.abs(inner - 90).max() < 60


def test_a_long_clip_is_shown_in_a_dozen_frames_and_names_may_hold_any_letters() -> None:
    frames = np.zeros((100, 90, 160, 3), np.uint8)
    sheet = contact_sheet(frames, masks_of(100, ("größe",)))
    rows, columns = PICTURES // 4, 4
    assert sheet.shape == (rows * 90 + (rows - 1) * GAP_PIXELS, columns * 160 + (columns - 1) * GAP_PIXELS, 3)


def test_without_objects_the_frames_are_shown() -> None:
    frames = np.full((2, 90, 160, 3), 90, np.uint8)
    sheet = contact_sheet(frames, Masks((), np.zeros((0, 2, 90, 160), np.uint8), np.zeros((0, 2, 90, 160), np.uint8)))
    assert (sheet[:60, :160] == 90).all()

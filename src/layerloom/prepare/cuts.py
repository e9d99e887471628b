"""Cuts and flashes: frames that do not go on from the ones before."""

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

SMALL_EDGE = 64
"""Of the frames that are compared, longer side in pixels."""
BINS = 32
LEAST_CHANGE = 0.05
"""Mean difference of neighbouring frames, of 1, below which there is no cut, …"""
JUMP, SURE_JUMP = 3.5, 8.0
"""… and how many times what neighbours around differ by it must be: less where colours change as well."""
OTHER_COLOURS = 0.06
"""Share of the pixels that change their place in the histogram of colours. (Of seven real clips: at most 0.022; of
cuts between two of them: at least 0.2.)"""
FLASH_LEVELS = 0.12
"""By which a frame is brighter than those on both sides of it, of 1."""


def find_cuts(frames: UInt8[np.ndarray, "t h w 3"]) -> list[int]:
    """Frames that begin another shot: their colours, and where these lie, are others than in the frame before."""
    small = _small(frames)
    histograms = np.stack([_histogram(frame) for frame in small])
    colours = np.abs(np.diff(histograms, axis=0)).sum(-1) / 2
    places = np.abs(np.diff(small, axis=0)).mean((1, 2, 3))
    found: list[int] = []
    for index in np.flatnonzero(places > LEAST_CHANGE):
        jump = float(places[index]) / max(_usual(places, int(index)), 1e-3)
        if jump > SURE_JUMP or (jump > JUMP and colours[index] > OTHER_COLOURS):
            found.append(int(index) + 1)
    return found


def find_flashes(frames: UInt8[np.ndarray, "t h w 3"]) -> list[int]:
    """Frames of one or two in a row that are much brighter than those around them."""
    light = _small(frames).mean((1, 2, 3))
    found: list[int] = []
    for index in range(1, len(light) - 1):
        after = light[min(index + 2, len(light) - 1)]
        around = max(light[index - 1], min(light[index + 1], after))
        began = index - 1 in found and light[index + 1] < light[index] - FLASH_LEVELS
        if light[index] > around + FLASH_LEVELS or began:
            found.append(index)
    return found


def find_real_cuts(frames: UInt8[np.ndarray, "t h w 3"]) -> list[int]:
    """As `find_cuts`, without those that are flashes."""
    beside = {index + step for index in find_flashes(frames) for step in (0, 1)}
    return [index for index in find_cuts(frames) if index not in beside]


def cut_notes(frames: UInt8[np.ndarray, "t h w 3"], first: int) -> list[str]:
    """Lines that warn of either; `first` is the source's number of the first frame."""
    flashes, cuts = find_flashes(frames), find_real_cuts(frames)
    notes: list[str] = []
    if cuts:
        where = _listed([first + cut for cut in cuts])
        notes.append(f"a cut at frame {where}: layers hold one shot; take a part of the frames")
    if flashes:
        notes.append(f"a flash at frame {_listed([first + flash for flash in flashes])}: it may be learned badly")
    return notes


def _listed(numbers: list[int]) -> str:
    return ", ".join(str(number) for number in numbers[:5]) + (", …" if len(numbers) > 5 else "")


def _small(frames: UInt8[np.ndarray, "t h w 3"]) -> Float32[np.ndarray, "t y x 3"]:
    height, width = frames.shape[1:3]
    scale = min(1, SMALL_EDGE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames]).astype(
        np.float32
    ) / np.float32(255)


def _histogram(frame: Float32[np.ndarray, "y x 3"]) -> Float32[np.ndarray, " bins"]:
    """Shares of pixels by brightness and by colour, softened over neighbouring bins so that light may drift."""
    light = frame.mean(-1)
    planes = [light, (frame[..., 0] - light + 1) / 2, (frame[..., 2] - light + 1) / 2]
    counts = [np.histogram(plane, BINS, (0, 1))[0].astype(np.float32) / plane.size for plane in planes]
    soft = [np.convolve(count, np.array([0.25, 0.5, 0.25], np.float32), "same") for count in counts]
    return np.concatenate(soft).astype(np.float32) / np.float32(len(planes))


def _usual(differences: Float32[np.ndarray, " n"], index: int) -> float:
    """What neighbours differ by around a place, that place itself left out."""
    around = np.delete(differences[max(0, index - 12) : index + 13], min(index, 12))
    return float(np.median(around)) if around.size else 0.0

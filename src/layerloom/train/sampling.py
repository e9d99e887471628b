"""Clip to Batch: which pixels a step looks at, what was seen there, and their flow partners."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float16, Int, UInt8
from torch import Tensor

from layerloom.core.geometry import rescale_positions
from layerloom.core.parallel import do_in_threads
from layerloom.data.clip import Clip, Masks
from layerloom.model.field import ALPHA_START_LOGIT
from layerloom.train.settings import TILE

SUPPORT_MARGIN_PIXELS = 12
"""How far outside the mask an object's alpha may still be learned."""
TRUSTED = 250
CPU = torch.device("cpu")
CHOICES = 6
"""Numbers that chance gives each tile."""


@dataclass(frozen=True)
class Batch:
    """Tiles of one kind. Pixels of a tile are in row-major order; `partner_*` holds every second of them.

    frame: of each tile. xy: pixel centres. colour: what was seen, [0, 1]. coverage: each layer's visible share by the
    masks; trust: how far to believe it, 0…1. partner_xy: where flow carries each second pixel, in frame
    `partner_frame`, with `partner_confidence` 0…1. other_frame: any frame of the clip.
    """

    background_only: bool
    frame: Int[Tensor, " n"]
    xy: Float[Tensor, "n k 2"]
    colour: Float[Tensor, "n k 3"]
    coverage: Float[Tensor, "layers n k"]
    trust: Float[Tensor, "n k"]
    partner_frame: Int[Tensor, " n"]
    partner_xy: Float[Tensor, "n half 2"]
    partner_confidence: Float[Tensor, "n half"]
    other_frame: Int[Tensor, " n"]


def alpha_start(masks: Masks) -> UInt8[np.ndarray, "objects t h w"]:
    """Codes of the log odds that alphas start from (see LayeredField): the masks, softened by how far they are trusted.

    Behind an object in front, where a mask cannot know, the visible part is continued smoothly.
    """
    codes = np.zeros_like(masks.coverage)

    def encode(place: tuple[int, int]) -> None:
        index, t = place
        mask = masks.coverage[index, t] / np.float32(255)
        trust = masks.trust[index, t] / np.float32(255)
        hidden = np.minimum(masks.coverage[:index, t].sum(0, dtype=np.float32) / 255, 1)
        if index and hidden.any():
            visible = 1 - hidden
            spread = cv2.GaussianBlur(mask * visible, (0, 0), 12) / (cv2.GaussianBlur(visible, (0, 0), 12) + 1e-3)
            mask, trust = mask * visible + spread * hidden, trust * visible
        share = np.clip(cv2.GaussianBlur(mask, (0, 0), 0.7), 1e-3, 1 - 1e-3)
        sureness = 0.3 + 0.7 * trust
        odds = np.clip(np.log(share / (1 - share)) / ALPHA_START_LOGIT, -sureness, sureness)
        support = _support(masks.coverage[index, t], masks.trust[index, t]) | (hidden > 0) & (mask > 0.1)
        codes[index, t] = np.where(support, np.clip(np.rint(128 + 127 * odds), 1, 255), 0)

    do_in_threads(encode, np.ndindex(*masks.coverage.shape[:2]))
    return codes


def _support(coverage: UInt8[np.ndarray, "h w"], trust: UInt8[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Where an object can be: its mask and what is not surely outside it, and a margin around both."""
    possible = ((coverage > 0) | (trust < TRUSTED)).astype(np.uint8)
    reach = 2 * SUPPORT_MARGIN_PIXELS + 1
    return cv2.dilate(possible, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))) > 0


class Sampler:
    """Holds the clip on the device and draws batches there, without ever waiting for the host.

    On a CPU it holds the clip's own arrays: nothing large is copied.
    """

    def __init__(
        self,
        clip: Clip,
        support: UInt8[np.ndarray, "objects t h w"],
        tiles: int,
        object_share: float,
        device: torch.device = CPU,
    ) -> None:
        frames, height, width, _ = clip.frames.shape
        self.size, self.frame_count = (width, height), frames
        self.frames = torch.from_numpy(clip.frames).to(device)
        self.coverage: UInt8[Tensor, "objects t h w"] = torch.from_numpy(clip.masks.coverage).to(device)
        self.trust: UInt8[Tensor, "t h w"] = torch.from_numpy(_least_trust(clip.masks)).to(device)
        self.steps = torch.tensor(clip.flow.steps, device=device)
        self.flow: Float16[Tensor, "fields 2 t h w 2"] = torch.from_numpy(clip.flow.vectors).to(device)
        self.confidence: UInt8[Tensor, "fields 2 t h w"] = torch.from_numpy(clip.flow.confidence).to(device)
        self.flow_size = clip.flow.size
        self.last_flow_pixel = torch.tensor(self.flow_size, device=device) - 1
        with_objects = _tiles_with_objects(support, frames, (width, height))
        self.object_tiles = torch.from_numpy(np.argwhere(with_objects)).to(device)
        self.background_tiles = torch.from_numpy(np.argwhere(~with_objects)).to(device)
        self._object_share = object_share
        self.take(tiles)

    def take(self, tiles: int) -> None:
        """So many tiles a step from now on."""
        self.tiles = tiles
        count = round(tiles * self._object_share) if len(self.background_tiles) else tiles
        self.counts = (count if len(self.object_tiles) else 0, tiles - count if len(self.object_tiles) else tiles)

    def draw(self) -> Float[Tensor, "tiles choices"]:
        """What chance decides about one step's tiles, in [0, 1): see `read`."""
        return torch.rand(self.tiles, CHOICES, device=self.frames.device)

    def read(self, choice: Float[Tensor, "tiles choices"]) -> list[Batch]:
        """One step's pixels: tiles where objects can be, and tiles of pure background (either may be missing).

        `choice` per tile: which of its kind, shift down and right, which flow field, which way, which other frame.
        """
        choices = choice.split(self.counts)
        kinds = ((self.object_tiles, choices[0], False), (self.background_tiles, choices[1], True))
        return [self._read(tiles, part, background_only) for tiles, part, background_only in kinds if len(part)]

    def _read(self, tiles: Int[Tensor, "m 3"], choice: Float[Tensor, "n choices"], background_only: bool) -> Batch:
        device = self.frames.device
        chosen = tiles[_pick(choice[:, 0], len(tiles))]
        frame = chosen[:, 0]
        top = (chosen[:, 1] * TILE + _pick(choice[:, 1], TILE) - TILE // 2).clamp(0, self.size[1] - TILE)
        left = (chosen[:, 2] * TILE + _pick(choice[:, 2], TILE) - TILE // 2).clamp(0, self.size[0] - TILE)
        inside = torch.arange(TILE * TILE, device=device)
        row, column = top[:, None] + inside // TILE, left[:, None] + inside % TILE
        xy = torch.stack([column, row], -1) + 0.5
        at = (frame[:, None], row, column)
        objects = self.coverage[: 0 if background_only else None, *at].float() / 255
        coverage = torch.cat([objects, (1 - objects.sum(0, keepdim=True)).clamp(min=0)])
        partner = self._partners(frame, xy[:, every_second_pixel(device)], choice)
        colour, trust = self.frames[at].float() / 255, self.trust[at].float() / 255
        other = _pick(choice[:, 5], self.frame_count)
        return Batch(background_only, frame, xy, colour, coverage, trust, *partner, other)

    def _partners(
        self, frame: Int[Tensor, " n"], xy: Float[Tensor, "n half 2"], choice: Float[Tensor, "n choices"]
    ) -> tuple[Int[Tensor, " n"], Float[Tensor, "n half 2"], Float[Tensor, "n half"]]:
        """Follow flow by one of the known steps, forward or backward, at random per tile."""
        field = _pick(choice[:, 3], len(self.steps))
        backward = _pick(choice[:, 4], 2)
        partner_frame = frame + self.steps[field] * (1 - 2 * backward)
        exists = (partner_frame >= 0) & (partner_frame < self.frame_count)
        position = rescale_positions(xy, self.size, self.flow_size) - 0.5
        flow, confidence = self._read_flow(field, backward, frame, position)
        partner_xy = xy + rescale_positions(flow, self.flow_size, self.size)
        return partner_frame.clamp(0, self.frame_count - 1), partner_xy, confidence * exists[:, None]

    def _read_flow(
        self, field: Tensor, backward: Tensor, frame: Tensor, position: Float[Tensor, "n half 2"]
    ) -> tuple[Float[Tensor, "n half 2"], Float[Tensor, "n half"]]:
        """Bilinear; the confidence is that of the least sure of the four neighbours."""
        position = position.clamp(min=0).minimum(self.last_flow_pixel.float())
        corner = position.long().minimum(self.last_flow_pixel - 1)
        weight = position - corner
        flow = torch.zeros_like(position)
        confidence = torch.ones_like(position[..., 0])
        for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
            at = (field[:, None], backward[:, None], frame[:, None], corner[..., 1] + dy, corner[..., 0] + dx)
            share = (weight[..., 0] if dx else 1 - weight[..., 0]) * (weight[..., 1] if dy else 1 - weight[..., 1])
            flow = flow + share[..., None] * self.flow[at].float()
            confidence = torch.minimum(confidence, self.confidence[at].float() / 255)
        return flow, confidence


def _least_trust(masks: Masks) -> UInt8[np.ndarray, "t h w"]:
    """Of all objects, at each pixel."""
    return masks.trust[0] if len(masks.trust) == 1 else masks.trust.min(0, initial=255)


def _pick(share: Float[Tensor, " n"], count: int) -> Int[Tensor, " n"]:
    """A uniform number in [0, 1) to one of 0 … count − 1."""
    return (share * count).long().clamp(max=count - 1)


def every_second_pixel(device: torch.device) -> Int[Tensor, " half"]:
    """A checkerboard over the tile: rows alternate, so that both axes are covered evenly."""
    index = torch.arange(TILE * TILE, device=device).view(TILE, TILE)
    return torch.stack([index[0::2, 0::2], index[1::2, 1::2]]).flatten()


def _tiles_with_objects(
    support: UInt8[np.ndarray, "objects t h w"], frames: int, size: tuple[int, int]
) -> Bool[np.ndarray, "t rows columns"]:
    """Tiles of the TILE grid that an object's support touches, even after the sampler's jitter and clamping."""
    width, height = size
    rows, columns = -(-height // TILE), -(-width // TILE)
    touched = np.zeros((frames, rows, columns), bool)

    def mark(t: int) -> None:
        any_support = np.asarray((support[:, t] > 0).any(0), np.uint8)
        reached = cv2.dilate(any_support, np.ones((2 * TILE + 1, 2 * TILE + 1), np.uint8))
        padded = np.zeros((rows * TILE, columns * TILE), bool)
        padded[:height, :width] = reached > 0
        touched[t] = padded.reshape(rows, TILE, columns, TILE).any((1, 3))

    do_in_threads(mark, range(frames))
    return touched

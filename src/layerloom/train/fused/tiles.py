# pyright: basic, reportGeneralTypeIssues=false, reportArgumentType=false
# pyright: reportCallIssue=false, reportAssignmentType=false
# (Triton compiles these functions from their source; its pointers and blocks have no Python types.)
"""Reading a step's tiles from the clip in Triton, one program a tile: same meaning as `Sampler.read`.

Tiles with objects come first, then those of pure background; arrays over objects hold the former only.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from jaxtyping import Float16, Float32, Int, Int32, UInt8
from torch import Tensor

SIDE = 8
"""Pixels along a tile's edge."""
PIXELS = SIDE * SIDE
HALF = PIXELS // 2
CHOICES = 6


@dataclass(frozen=True)
class ClipTables:
    """The clip on the device. Tiles are (frame, row, column) of a grid of SIDE pixels.

    alpha_start: codes of log odds, see `LayeredField`; flow and confidence by field, direction (forward, backward) and
    the frame they live on.
    """

    object_tiles: Int[Tensor, "m 3"]
    background_tiles: Int[Tensor, "b 3"]
    frames: UInt8[Tensor, "t h w 3"]
    coverage: UInt8[Tensor, "layers t h w"]
    trust: UInt8[Tensor, "t h w"]
    alpha_start: UInt8[Tensor, "objects t h w"]
    steps: Int32[Tensor, " fields"]
    flow: Float16[Tensor, "fields 2 t fh fw 2"]
    confidence: UInt8[Tensor, "fields 2 t fh fw"]

    @property
    def sizes(self) -> dict[str, int]:
        frames, height, width, _ = self.frames.shape
        fields, _, _, flow_height, flow_width, _ = self.flow.shape
        tiles = {"object_tile_count": len(self.object_tiles), "background_tile_count": len(self.background_tiles)}
        sizes = {"frame_count": frames, "width": width, "height": height, "fields": fields}
        return {**tiles, **sizes, "flow_width": flow_width, "flow_height": flow_height}


@dataclass(frozen=True)
class TileBatch:
    """What is read of n tiles, of which the first m have objects; see `train.sampling.Batch`. Odds are log odds."""

    frame: Int32[Tensor, " n"]
    other_frame: Int32[Tensor, " n"]
    xy: Float32[Tensor, "n pixels 2"]
    colour: Float32[Tensor, "n pixels 3"]
    trust: Float32[Tensor, "n pixels"]
    coverage: Float32[Tensor, "layers m pixels"]
    odds: Float32[Tensor, "objects m pixels"]
    partner_frame: Int32[Tensor, " n"]
    partner_xy: Float32[Tensor, "n half 2"]
    partner_confidence: Float32[Tensor, "n half"]
    partner_odds: Float32[Tensor, "objects m half"]

    @staticmethod
    def allocate(tiles: int, with_objects: int, objects: int, device: torch.device) -> "TileBatch":
        def new(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        return TileBatch(
            frame=new(tiles, dtype=torch.int32),
            other_frame=new(tiles, dtype=torch.int32),
            xy=new(tiles, PIXELS, 2),
            colour=new(tiles, PIXELS, 3),
            trust=new(tiles, PIXELS),
            coverage=new(objects + 1, with_objects, PIXELS),
            odds=new(objects, with_objects, PIXELS),
            partner_frame=new(tiles, dtype=torch.int32),
            partner_xy=new(tiles, HALF, 2),
            partner_confidence=new(tiles, HALF),
            partner_odds=new(objects, with_objects, HALF),
        )


def read_tiles(
    choice: Float32[Tensor, "n choices"], clip: ClipTables, batch: TileBatch, log_odds_per_code: float
) -> None:
    """Fill `batch`. log_odds_per_code: of `alpha_start`'s codes about 128; code 0 means log odds −∞."""
    outputs = {f"{name}_out": value for name, value in vars(batch).items()}
    objects, with_objects = batch.odds.shape[:2]
    constants = {"OBJECTS": objects, "LOG_ODDS_PER_CODE": log_odds_per_code, "SIDE": SIDE, "CHOICES": CHOICES}
    sizes = {"tiles_with_objects": with_objects, **clip.sizes}
    read_kernel[(len(choice),)](choice, **vars(clip), **outputs, **sizes, **constants, num_warps=2)


@triton.jit
def pick(share, count):
    """A uniform number in [0, 1) to one of 0 … count − 1."""
    return tl.minimum((share * count).to(tl.int32), count - 1)


@triton.jit
def mask_odds(code, LOG_ODDS_PER_CODE: tl.constexpr):
    code = code.to(tl.float32)
    return tl.where(code > 0, (code - 128) * LOG_ODDS_PER_CODE, float("-inf"))


@triton.jit
def read_kernel(
    choice, object_tiles, background_tiles, frames, coverage, trust, alpha_start, steps, flow, confidence,
    frame_out, other_frame_out, xy_out, colour_out, trust_out, coverage_out, odds_out,
    partner_frame_out, partner_xy_out, partner_confidence_out, partner_odds_out,
    tiles_with_objects, object_tile_count, background_tile_count, frame_count, width, height, fields,
    flow_width, flow_height,
    OBJECTS: tl.constexpr, LOG_ODDS_PER_CODE: tl.constexpr, SIDE: tl.constexpr, CHOICES: tl.constexpr,
):  # fmt: skip
    tile = tl.program_id(0)
    has_objects = tile < tiles_with_objects
    chances = choice + tile * CHOICES
    entry = pick(tl.load(chances), tl.where(has_objects, object_tile_count, background_tile_count))
    table = background_tiles
    if has_objects:
        table = object_tiles
    table += entry.to(tl.int64) * 3
    frame = tl.load(table).to(tl.int32)
    top = tl.load(table + 1).to(tl.int32) * SIDE + pick(tl.load(chances + 1), SIDE) - SIDE // 2
    left = tl.load(table + 2).to(tl.int32) * SIDE + pick(tl.load(chances + 2), SIDE) - SIDE // 2
    top = tl.minimum(tl.maximum(top, 0), height - SIDE)
    left = tl.minimum(tl.maximum(left, 0), width - SIDE)
    tl.store(frame_out + tile, frame)
    tl.store(other_frame_out + tile, pick(tl.load(chances + 5), frame_count))

    lane = tl.arange(0, SIDE * SIDE)
    row, column = top + lane // SIDE, left + lane % SIDE
    pixel = (frame.to(tl.int64) * height + row) * width + column
    place = tile * SIDE * SIDE + lane
    tl.store(xy_out + place * 2, column + 0.5)
    tl.store(xy_out + place * 2 + 1, row + 0.5)
    for channel in tl.static_range(3):
        tl.store(colour_out + place * 3 + channel, tl.load(frames + pixel * 3 + channel).to(tl.float32) / 255)
    tl.store(trust_out + place, tl.load(trust + pixel).to(tl.float32) / 255)

    # Every second pixel of the tile, on a checkerboard, follows flow to its partner.
    half = tl.arange(0, SIDE * SIDE // 2)
    odd = half // (SIDE * SIDE // 4)
    inner = half % (SIDE * SIDE // 4)
    row, column = top + inner // (SIDE // 2) * 2 + odd, left + inner % (SIDE // 2) * 2 + odd
    field, backward = pick(tl.load(chances + 3), fields), pick(tl.load(chances + 4), 2)
    partner_frame = frame + tl.load(steps + field).to(tl.int32) * (1 - 2 * backward)
    exists = (partner_frame >= 0) & (partner_frame < frame_count)
    x, y = column + 0.5, row + 0.5
    at_x = tl.minimum(tl.maximum(x * (flow_width / width) - 0.5, 0.0), flow_width - 1.0)
    at_y = tl.minimum(tl.maximum(y * (flow_height / height) - 0.5, 0.0), flow_height - 1.0)
    corner_x = tl.minimum(at_x.to(tl.int32), flow_width - 2)
    corner_y = tl.minimum(at_y.to(tl.int32), flow_height - 2)
    right, below = at_x - corner_x, at_y - corner_y
    base = ((field * 2 + backward).to(tl.int64) * frame_count + frame) * flow_height
    flow_x, flow_y, sure = x * 0, x * 0, x * 0 + 1
    for down in tl.static_range(2):
        for across in tl.static_range(2):
            at = (base + corner_y + down) * flow_width + corner_x + across
            share = (right if across else 1 - right) * (below if down else 1 - below)
            flow_x += share * tl.load(flow + at * 2).to(tl.float32)
            flow_y += share * tl.load(flow + at * 2 + 1).to(tl.float32)
            sure = tl.minimum(sure, tl.load(confidence + at).to(tl.float32) / 255)
    x += flow_x * (width / flow_width)
    y += flow_y * (height / flow_height)
    partner_frame = tl.minimum(tl.maximum(partner_frame, 0), frame_count - 1)
    tl.store(partner_frame_out + tile, partner_frame)
    partner = tile * (SIDE * SIDE // 2) + half
    tl.store(partner_xy_out + partner * 2, x)
    tl.store(partner_xy_out + partner * 2 + 1, y)
    tl.store(partner_confidence_out + partner, tl.where(exists, sure, 0.0))

    if has_objects:
        partner_row = tl.minimum(tl.maximum(y.to(tl.int32), 0), height - 1)
        partner_column = tl.minimum(tl.maximum(x.to(tl.int32), 0), width - 1)
        partner_pixel = (partner_frame.to(tl.int64) * height + partner_row) * width + partner_column
        plane = frame_count.to(tl.int64) * height * width
        for layer in tl.static_range(OBJECTS + 1):
            seen = tl.load(coverage + layer * plane + pixel).to(tl.float32) / 255
            tl.store(coverage_out + layer * tiles_with_objects * SIDE * SIDE + place, seen)
        for layer in tl.static_range(OBJECTS):
            odds = mask_odds(tl.load(alpha_start + layer * plane + pixel), LOG_ODDS_PER_CODE)
            tl.store(odds_out + layer * tiles_with_objects * SIDE * SIDE + place, odds)
            odds = mask_odds(tl.load(alpha_start + layer * plane + partner_pixel), LOG_ODDS_PER_CODE)
            tl.store(partner_odds_out + layer * tiles_with_objects * (SIDE * SIDE // 2) + partner, odds)

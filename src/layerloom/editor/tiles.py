"""Painted tiles on the disk, named after what they hold, and whole paintings made of them."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from layerloom import media
from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size
from layerloom.editor.changes import TILE_TEXELS

Tile = UInt8[np.ndarray, "256 256 4"]


class TileStore:
    """A folder of tiles. A tile that is there is never written again, so threads and programs may share it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, tile: Tile) -> str | None:
        """A tile's name; None for one that is wholly transparent, which is not kept."""
        if not tile[..., 3].any():
            return None
        name = hashlib.sha256(np.ascontiguousarray(tile).tobytes()).hexdigest()
        path = self.path(name)
        if not path.exists():
            media.write_image(path, tile)
        return name

    def get(self, name: str) -> Tile:
        """A tile by its name. LayerloomError if it is gone or is not what its name says."""
        path = self.path(name)
        tile = media.read_image(path)
        if tile.shape != (TILE_TEXELS, TILE_TEXELS, 4) or tile.dtype != np.uint8:
            raise LayerloomError(f"{path}: not a tile of {TILE_TEXELS} x {TILE_TEXELS} texels in 8-bit RGBA")
        return tile

    def path(self, name: str) -> Path:
        """Where a tile lies."""
        return self._folder / f"{name}.png"

    def bytes_of(self, names: Iterable[str]) -> int:
        """What tiles take on the disk."""
        return sum(path.stat().st_size for path in map(self.path, names) if path.exists())

    def keep_only(self, names: set[str]) -> None:
        """Delete all other tiles."""
        for path in self._folder.glob("*.png"):
            if path.stem not in names:
                path.unlink(missing_ok=True)

    def assemble(self, tiles: Mapping[tuple[int, int], str], canvas: Size) -> UInt8[np.ndarray, "H W 4"]:
        """A whole painting, transparent where there is no tile."""
        width, height = canvas
        painting = np.zeros((height, width, 4), np.uint8)
        for (column, row), name in tiles.items():
            left, top = column * TILE_TEXELS, row * TILE_TEXELS
            window = painting[top : top + TILE_TEXELS, left : left + TILE_TEXELS]
            window[:] = self.get(name)[: window.shape[0], : window.shape[1]]
        return painting

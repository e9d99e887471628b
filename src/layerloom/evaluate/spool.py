"""Frames kept in a temporary file, so that memory does not grow with the clip."""

import tempfile
from collections.abc import Iterator

import numpy as np
from jaxtyping import Shaped


class FrameSpool:
    """Arrays of one shape and type, written one after the other and read by their number. Read-only once written."""

    def __init__(self, shape: tuple[int, ...], dtype: type[np.generic]) -> None:
        self._shape, self._dtype = shape, np.dtype(dtype)
        self._bytes = int(np.prod(shape)) * self._dtype.itemsize
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  (gone with the last reference)
        self._count = 0

    def append(self, frame: Shaped[np.ndarray, "..."]) -> None:
        """ValueError for another shape or type."""
        if frame.shape != self._shape or frame.dtype != self._dtype:
            raise ValueError(f"{frame.shape} {frame.dtype} among frames of {self._shape} {self._dtype}")
        self._file.seek(self._count * self._bytes)
        self._file.write(np.ascontiguousarray(frame).data)
        self._count += 1

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> Shaped[np.ndarray, "..."]:
        if not 0 <= number < self._count:
            raise IndexError(number)
        self._file.seek(number * self._bytes)
        return np.frombuffer(self._file.read(self._bytes), self._dtype).reshape(self._shape)

    def __iter__(self) -> Iterator[Shaped[np.ndarray, "..."]]:
        return (self[number] for number in range(self._count))

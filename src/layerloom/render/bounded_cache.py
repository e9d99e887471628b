"""Values worked out once and kept, the ones used last, as many as fit into so many bytes."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

Value = TypeVar("Value")


class BoundedCache(Generic[Value]):
    """Threads may share it: a value that two ask for at once is made once, while others are served."""

    def __init__(self, most_bytes: int, count_bytes: Callable[[Value], int]) -> None:
        """most_bytes: above which what was used longest ago is let go; the value used last always stays."""
        self._most, self._count_bytes, self._used = most_bytes, count_bytes, 0
        self._entries: OrderedDict[Hashable, _Entry[Value]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of a key, made if it is not there."""
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
        with entry.lock:
            if not entry.values:
                entry.values.append(make())
                self._add(key, entry, self._count_bytes(entry.values[0]))
            return entry.values[0]

    def _add(self, key: Hashable, entry: "_Entry[Value]", size: int) -> None:
        with self._lock:
            if self._entries.get(key) is entry:
                entry.size = size
                self._used += size
            while self._used > self._most and len(self._entries) > 1:
                self._used -= self._entries.popitem(last=False)[1].size


class _Entry(Generic[Value]):
    """A value, or none yet. `size` counts towards the bytes in use."""

    def __init__(self) -> None:
        self.values: list[Value] = []
        self.size = 0
        self.lock = Lock()

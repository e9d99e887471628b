"""The driver: changes seeds, reads them, counts what happens. Each target runs in a process of its own."""

import random
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from layerloom.core.errors import LayerloomError

LONGEST_SECONDS = 10.0
MOST_BYTES = 2 << 30
"""By which a target's memory may grow."""
INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@dataclass(frozen=True)
class Target:
    """What is fuzzed. seeds: whole inputs with their suffixes; run: reads one, and may raise LayerloomError."""

    name: str
    seeds: Callable[[], Sequence[tuple[str, bytes]]]
    run: Callable[[Path], object]


@dataclass
class Outcome:
    """counts: of inputs that were read or refused, or are findings. findings: what went wrong, and the input."""

    counts: Counter[str] = field(default_factory=Counter[str])
    findings: list[tuple[str, bytes]] = field(default_factory=list[tuple[str, bytes]])


def fuzz(target: Target, seconds: float, seed: int = 0, keep: Path | None = None) -> Outcome:
    """Run a target for so long. keep: where inputs of findings are written."""
    chance, outcome = random.Random(f"{target.name} {seed}"), Outcome()
    seeds = list(target.seeds())
    end = time.monotonic() + seconds
    began = _memory()
    with tempfile.TemporaryDirectory() as folder:
        number = 0
        while time.monotonic() < end:
            suffix, whole = seeds[number % len(seeds)]
            # The seeds themselves come first.
            data = whole if number < len(seeds) else mutate(whole, chance)
            path = Path(folder) / f"{number}{suffix}"
            path.write_bytes(data)
            trouble = _read(target, path)
            if trouble in ("read", "refused"):
                outcome.counts[trouble] += 1
            else:
                outcome.counts["found"] += 1
                outcome.findings.append((trouble, data))
                if keep is not None:
                    (keep / f"{target.name}-{seed}-{number}{suffix}").write_bytes(data)
            path.unlink()
            number += 1
    if _memory() - began > MOST_BYTES:
        outcome.findings.append((f"memory grew by {(_memory() - began) >> 20} MiB", b""))
    return outcome


def mutate(whole: bytes, chance: random.Random) -> bytes:
    """A few changes: bytes, numbers of one to four bytes, pieces left out, doubled or moved, the end cut off."""
    data = bytearray(whole)
    # Headers decide most, so half of the changes lie near the beginning.
    for _ in range(chance.choice((1, 1, 2, 4, 8))):
        length = len(data)
        if length < 8:
            break
        place = chance.randrange(min(length, 512)) if chance.random() < 0.5 else chance.randrange(length)
        kind = chance.randrange(6)
        if kind == 0:
            data[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[place] = chance.randrange(256)
        elif kind == 2:
            width, order = chance.choice((1, 2, 4)), chance.choice(("little", "big"))
            value = chance.choice(INTERESTING) & ((1 << 8 * width) - 1)
            data[place : place + width] = value.to_bytes(width, order)
        elif kind == 3:
            del data[place : place + chance.randrange(1, 64)]
        elif kind == 4:
            data[place:place] = data[place : place + chance.randrange(1, 64)]
        else:
            del data[max(8, place) :]
    return bytes(data)


def _read(target: Target, path: Path) -> str:
    start = time.monotonic()
    try:
        target.run(path)
        result = "read"
    except LayerloomError as error:
        message = str(error)
        result = "refused" if "\n" not in message else f"a message of several lines: {message!r}"
    except Exception as error:
        result = f"{type(error).__name__}: {error}"
    if (took := time.monotonic() - start) > LONGEST_SECONDS:
        result = f"{took:.0f} seconds"
    return result


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

"""How right masks become: given ones that were degraded on purpose, and masks found without any.

    python benchmarks/masks.py --clips CLIPS

A clip is a folder with `video_frames` and `masks` in it; synthetic clips come first. For every clip the flow is made
once, then every case's masks are completed and compared with the true ones: intersection over union, the mean over
frames, of each object, and in how many frames an object covers more of another's mask than of its own. Where masks were
found without any, the figures are of all objects together, and of each true one with the found one that fits it best.
`--cases hints` makes masks from boxes and scripted corrections instead: see `mask_hints.py`. One JSON line a clip goes
to results/masks.jsonl. Nothing is learned here: `quality.py --masks CASE` learns from degraded masks.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from mask_hints import CHOSEN_ON, CORRECTIONS, hint_figures
from timing.figures import commit

from layerloom import media
from layerloom.core.geometry import fit_long_edge, long_edge
from layerloom.data.clip import Masks
from layerloom.evaluate.measures import intersection_over_union
from layerloom.prepare.discover.objects import discover_masks
from layerloom.prepare.flow.compute import compute_flow
from layerloom.prepare.masks.files import load_masks, without_overlaps
from layerloom.prepare.masks.repair import complete_masks
from layerloom.synthetic.clip import make_clip

RESULTS = Path(__file__).parent / "results" / "masks.jsonl"
CASES: dict[str, tuple[float, float, bool]] = {
    "clean": (0, 0, False),
    "missing": (0, 0, True),
    "eroded": (-5, 0, False),
    "dilated": (5, 0, False),
    "jittered": (0, 8, False),
    "eroded-jittered-missing": (-5, 5, True),
    "dilated-jittered-missing": (5, 5, True),
    "eroded-twice": (-10, 0, False),
    "dilated-twice": (10, 0, False),
}
"""Growth and largest shift of a frame, in thousandths of the long edge; whether every third frame is missing."""
SYNTHETIC: dict[str, dict[str, Any]] = {"synthetic": {"seed": 2}, "synthetic-two": {"seed": 3, "objects": 2}}


def degrade(masks: Masks, case: str) -> Masks:
    """The same masks, wrong as the case says. Shifts are drawn with seed 0."""
    growth, shift, missing = CASES[case]
    unit = long_edge((masks.coverage.shape[3], masks.coverage.shape[2])) / 1000
    radius, reach = round(abs(growth) * unit), round(shift * unit)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    generator = np.random.default_rng(0)
    coverage, trust = masks.coverage.copy(), masks.trust.copy()
    for index in np.ndindex(coverage.shape[:2]):
        grown = cv2.dilate(coverage[index], disc) if growth > 0 else cv2.erode(coverage[index], disc)
        moved = np.eye(2, 3, dtype=np.float32)
        moved[:, 2] = generator.integers(-reach, reach + 1, 2)
        coverage[index] = cv2.warpAffine(grown, moved, (grown.shape[1], grown.shape[0]))
    for frame in range(coverage.shape[1]):
        coverage[:, frame] = without_overlaps(coverage[:, frame])
    if missing:
        coverage[:, 1::3] = trust[:, 1::3] = 0
    return Masks(masks.names, coverage, trust)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, help="folder of clips")
    parser.add_argument("--only", nargs="*", help="names of clips; synthetic, synthetic-two are built in")
    parser.add_argument("--cases", nargs="*", default=[*CASES, "found"], choices=[*CASES, "found", "hints"])
    parser.add_argument("--long-edge", type=int, default=384)
    parser.add_argument("--frames", type=int, help="of each clip, from its first")
    options = parser.parse_args()
    found = sorted(path.parent.name for path in options.clips.glob("*/masks")) if options.clips else []
    print("| clip | case | IoU as given | IoU completed | frames swapped | s |\n|" + " --- |" * 6, flush=True)
    for name in options.only or [*SYNTHETIC, *found]:
        frames, truth = _synthetic(name) if name in SYNTHETIC else _read(options.clips / name, options)
        flow = compute_flow(frames)
        cases: dict[str, Any] = {}
        for case in options.cases:
            given = degrade(truth, case) if case in CASES else truth
            started = time.perf_counter()
            if case == "hints":
                for number, (step, ious) in enumerate(hint_figures(frames, truth, flow).items()):
                    half = "chosen on" if name in CHOSEN_ON else "report"
                    seconds = time.perf_counter() - started if number == CORRECTIONS else 0.0
                    cases[f"hints: {step}"] = {"iou": ious, "seconds": seconds, "half": half}
                    print(_row(name, f"{step} ({half})", cases[f"hints: {step}"]), flush=True)
                continue
            if case == "found":
                made, explained, sureness = discover_masks(frames, flow)
                cases[case] = _found_figures(made, truth) | {"explained": explained, "sureness": sureness}
            else:
                cases[case] = _figures(complete_masks(given, frames, flow), given, truth)
            cases[case]["seconds"] = time.perf_counter() - started
            print(_row(name, case, cases[case]), flush=True)
        line = {"clip": name, "size": [*frames.shape[2:0:-1]], "frames": len(frames), "cases": cases}
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(line | {"flow": "dis", "commit": commit()}) + "\n")


def _read(folder: Path, options: argparse.Namespace) -> tuple[UInt8[np.ndarray, "t h w 3"], Masks]:
    info = media.probe(folder / "video_frames")
    count = min(options.frames or info.frames, info.frames)
    size = fit_long_edge(info.size, options.long_edge)
    frames = np.stack(list(media.read_frames(info.path, 0, count, size)))
    return frames, load_masks(folder / "masks", range(count), size, info.frames)


def _synthetic(name: str) -> tuple[UInt8[np.ndarray, "t h w 3"], Masks]:
    clip = make_clip((384, 216), 24, **SYNTHETIC[name])
    return clip.frames, Masks(clip.names[:-1], clip.masks, np.full_like(clip.masks, 255))


def _found_figures(made: Masks, truth: Masks) -> dict[str, Any]:
    """Of all objects together, and of each true one the found one that fits it best."""
    covered = made.coverage.max(0, initial=0)[None]
    best = {
        name: max((_overlap(found[None], mask[None])[0] for found in made.coverage), default=0.0)
        for name, mask in zip(truth.names, truth.coverage, strict=True)
    }
    together = {"all": _overlap(covered, truth.coverage.max(0)[None])[0]}
    return {"objects": len(made.names), "iou": together | (best if len(best) > 1 else {})}


def _figures(made: Masks, given: Masks, truth: Masks) -> dict[str, Any]:
    return {
        "iou_given": dict(zip(truth.names, _overlap(given.coverage, truth.coverage), strict=True)),
        "iou": dict(zip(truth.names, _overlap(made.coverage, truth.coverage), strict=True)),
        "swapped": _swapped(made.coverage > 127, truth.coverage > 127),
    }


def _overlap(one: UInt8[np.ndarray, "objects t h w"], other: UInt8[np.ndarray, "objects t h w"]) -> list[float]:
    """Of each object, the mean over the frames in which either shows it."""
    return [
        float(
            np.mean(
                [intersection_over_union(a, b) for a, b in zip(x > 127, y > 127, strict=True) if a.any() or b.any()]
            )
        )
        for x, y in zip(one, other, strict=True)
    ]


def _swapped(made: np.ndarray, truth: np.ndarray) -> int:
    """Frames in which some object covers more of another's true mask than of its own."""
    shared = np.einsum("othw,pthw->top", made.astype(np.float32), truth.astype(np.float32))
    own = np.diagonal(shared, axis1=1, axis2=2)
    return int((shared.max(2) > own).any(1).sum())


def _row(name: str, case: str, figures: dict[str, Any]) -> str:
    def listed(values: dict[str, float]) -> str:
        return ", ".join(f"{key} {value:.3f}" for key, value in values.items()) or "–"

    cells = [name, case, listed(figures.get("iou_given", {})), listed(figures["iou"]), str(figures.get("swapped", "–"))]
    return f"| {' | '.join(cells)} | {figures['seconds']:.1f} |"


if __name__ == "__main__":
    main()

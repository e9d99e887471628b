"""How good decompositions are: every clip is learned, measured, and becomes a row of one table.

    python benchmarks/quality.py --clips CLIPS --quality standard --flow raft --flow-weights raft-small.pth

A clip is a folder with `video_frames` and `masks` in it. Six synthetic clips with known truth come first, three of them
in strong light. One JSON line a clip, with all figures (docs/evaluation.md defines them), goes to
results/quality.jsonl; projects and reports stay in --out. The table has the figures that the project promises
something about. With `--masks CASE` (masks.py names them) clips are learned from masks that were degraded on purpose,
and measured against the true ones.
"""

import layerloom  # noqa: F401, I001  (sets how threads wait, before PyTorch is imported)

import argparse
import json
import os
import time
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import skimage.data
import torch
from masks import CASES, degrade
from timing.figures import commit

from layerloom import media
from layerloom.cli.demo import SIZES, write_masks
from layerloom.evaluate.evaluate import evaluate
from layerloom.core.device import choose_device
from layerloom.decompose import decompose
from layerloom.prepare.prepare import prepare
from layerloom.prepare.masks.files import load_masks
from layerloom.data.project import Project
from layerloom.evaluate.report import write_report
from layerloom.synthetic.clip import SyntheticClip, make_clip
from layerloom.synthetic.scene import STRONG_LIGHT, Conditions, Light
from layerloom.evaluate.truth import truth_figures

RESULTS = Path(__file__).parent / "results" / "quality.jsonl"
STRONG = Conditions(STRONG_LIGHT)
SYNTHETIC: dict[str, dict[str, Any]] = {
    "synthetic": {"seed": 0},
    "synthetic-fast": {"seed": 1, "conditions": Conditions(Light(1.5), camera=3.0)},
    "synthetic-soft": {"seed": 2, "conditions": Conditions(edge=12.0)},
    "strong-drawn": {"seed": 3, "conditions": STRONG},
    "strong-photos": {"seed": 4, "conditions": STRONG, "photos": ("chelsea", "gravel")},
    "strong-faces": {"seed": 5, "conditions": STRONG, "photos": ("astronaut", "coffee")},
}
"""Arguments of `make_clip`; photos by their names in `skimage.data`, front to back."""
CORES_A_MEASUREMENT = 4
COLUMNS = (
    "clip",
    "size",
    "train s",
    "PSNR",
    "unlit",
    "IoU",
    "halo px",
    "30-frame tracks ≤ 2 px",
    "log-light r",
    "slope",
    "ghost",
    "fine light on texture",
    "J&F",
    "hidden, contact",
)


def main() -> None:
    options = _options()
    device = torch.device(choose_device(options.device))
    common = {"masks": options.masks, "quality": options.quality, "flow": options.flow, **_origin(device)}
    options.out.mkdir(parents=True, exist_ok=True)
    RESULTS.parent.mkdir(exist_ok=True)
    rows: list[dict[str, Any]] = []
    # A clip is measured on the host, in a process of its own, while the next one is learned.
    workers = max(1, (os.cpu_count() or 1) // CORES_A_MEASUREMENT)
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        measured: list[Future[dict[str, Any]]] = []
        for name in options.only or [*SYNTHETIC, *_clips(options.clips)]:
            learned = _learn(name, options, device) | common
            measured.append(pool.submit(_measure, learned, options))
        for row in map(Future[dict[str, Any]].result, measured):
            with RESULTS.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(row) + "\n")
            rows.append(row)
    print(_table(rows), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, help="folder of clips")
    parser.add_argument("--only", nargs="*", help="names of clips; those with truth are built in")
    parser.add_argument("--quality", default="standard", choices=["draft", "standard", "fine"])
    parser.add_argument("--long-edge", type=int, help="training size; by default what decompose takes")
    parser.add_argument("--flow", default="dis", choices=["dis", "raft"])
    parser.add_argument("--flow-weights", type=Path)
    parser.add_argument("--masks", default="clean", choices=list(CASES), help="how the masks learned from are degraded")
    parser.add_argument("--lpips-weights", type=Path, help="AlexNet's or VGG16's, to measure LPIPS, too")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=Path("quality"))
    return parser.parse_args()


def _clips(folder: Path | None) -> list[str]:
    return sorted(path.parent.name for path in folder.glob("*/masks")) if folder else []


def _learn(name: str, options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Learn one clip; the project stays in `options.out`."""
    folder = _folder(name, options)
    if name in SYNTHETIC:
        _write_synthetic(_synthetic(name, device.type), folder)
    started = time.perf_counter()
    clip = prepare(
        folder,
        masks=_degraded(name, folder, options) if options.masks != "clean" else folder / "masks",
        quality=options.quality,
        long_edge=options.long_edge,
        flow=options.flow,
        flow_weights=options.flow_weights,
        device=device.type,
    )
    prepared = time.perf_counter()
    project = decompose(clip, options.out / f"{name}.loom", device=device.type)
    return {
        "clip": name,
        "size": list(project.source.size),
        "training_size": list(project.training_size),
        "frames": project.source.frames,
        "prepare_seconds": prepared - started,
        "train_seconds": project.figures["train_seconds"],
        "bake_seconds": project.figures["bake_seconds"],
    }


def _measure(learned: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """The row of a learned clip: what `_learn` said and all figures."""
    name = learned["clip"]
    project = Project.open(options.out / f"{name}.loom")
    given = load_masks(_folder(name, options) / "masks", project.source_range, project.source.size)
    figures = evaluate(project, given, lpips_weights=options.lpips_weights)
    write_report(options.out / f"{name}.html", project, figures)
    truth = truth_figures(project, _synthetic(name, project.settings["device"])) if name in SYNTHETIC else None
    return learned | {
        "evaluation": {key: value for key, value in figures.to_json().items() if key != "per_frame"},
        "truth": truth and truth.to_json(),
    }


def _folder(name: str, options: argparse.Namespace) -> Path:
    return options.out / f"{name}-clip" if name in SYNTHETIC else options.clips / name


def _degraded(name: str, folder: Path, options: argparse.Namespace) -> Path:
    """A folder of the clip's masks, at their own size, as the case degrades them."""
    info = media.probe(folder / "video_frames")
    masks = degrade(load_masks(folder / "masks", range(info.frames), info.size, info.frames), options.masks)
    out = options.out / f"{name}-{options.masks}-masks"
    for i, frame in np.argwhere(masks.trust.any((2, 3))):
        (out / masks.names[i]).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(out / masks.names[i] / f"{frame:05d}.png"), masks.coverage[i, frame])
    return out


def _synthetic(name: str, device: str) -> SyntheticClip:
    size, frames = SIZES[device]
    arguments = dict(SYNTHETIC[name])
    photos = [media.to_float(_in_colour(getattr(skimage.data, photo)())) for photo in arguments.pop("photos", ())]
    return make_clip(size, frames, photos=photos, **arguments)


def _in_colour(photo: np.ndarray) -> np.ndarray:
    return photo if photo.ndim == 3 else np.repeat(photo[..., None], 3, 2)


def _write_synthetic(clip: SyntheticClip, folder: Path) -> None:
    (folder / "video_frames").mkdir(parents=True)
    for number, frame in enumerate(clip.frames):
        media.write_image(folder / "video_frames" / f"{number:05d}.png", frame)
    write_masks(clip, folder / "masks")


def _origin(device: torch.device) -> dict[str, str]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    return {"device": name, "commit": commit()}


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + " --- |" * len(COLUMNS)]
    return "\n".join(lines + [f"| {' | '.join(_cells(row))} |" for row in rows]) + "\n"


def _cells(row: dict[str, Any]) -> list[str]:
    figures = row["evaluation"]
    carried = {name: found.get("30") for name, found in figures["tracks"]["corners"].items()}
    tracks = {name: found["within"]["2"] for name, found in carried.items() if found}
    light = row["truth"]["light_correlation"] if row["truth"] else {}
    return [
        row["clip"],
        "{}×{}".format(*row["training_size"]),
        f"{row['train_seconds']:.0f}",
        f"{figures['reconstruction']['psnr']:.2f}",
        f"{figures['reconstruction']['psnr_unlit']:.2f}",
        _by_layer(figures["mattes"]["iou"]),
        _by_layer({"all": figures["mattes"]["halo_px"]}).removeprefix("all "),
        _by_layer(tracks),
        _by_layer(light),
        _by_layer(row["truth"]["light_slope"] if row["truth"] else {}),
        _by_layer({name: found["ghost_levels"] for name, found in figures["light"].items()}),
        _by_layer({name: found["follows_texture"] for name, found in figures["light"].items()}),
        _by_layer({name: _j_and_f(found) for name, found in figures["mattes"]["davis"].items()}),
        _by_layer({"dB": row["truth"]["hidden"]["psnr_contact"]} if row["truth"] else {}),
    ]


def _j_and_f(found: dict[str, Any]) -> float | None:
    """Mean of both means, as DAVIS ranks by."""
    j, f = found["j"]["mean"], found["f"]["mean"]
    return None if j is None or f is None else (j + f) / 2


def _by_layer(values: dict[str, float | None]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in values.items() if value is not None) or "–"


if __name__ == "__main__":
    main()

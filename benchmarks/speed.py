"""How fast it is, with the bound beside a figure where one is known. A JSON line a figure goes to results/speed.jsonl.

    python benchmarks/speed.py kernels            # encode and MLP, on the GPU if there is one, else on the CPU
    python benchmarks/speed.py sweep              # block sizes and warps of the encode kernels (GPU)
    python benchmarks/speed.py step               # a training step of two and three layers
    python benchmarks/speed.py profile            # a training step by kernel
    python benchmarks/speed.py stages CLIP --masks CLIP/masks --flow raft --flow-weights raft-small.pth
    python benchmarks/speed.py whole CLIP --masks CLIP/masks            # the command, as a process of its own
    python benchmarks/speed.py reach CLIP --masks CLIP/masks --targets 25 27 29    # seconds of training to a PSNR
    python benchmarks/speed.py reach synthetic --targets 28 30          # the same of the demo's clip
    python benchmarks/speed.py scaling resolution                       # or frames, or layers: of made-up clips

GPU times of kernels are replays of a CUDA graph between events, so they hold no launch gaps (the reference encode
cannot be recorded and is launched as usual). The bound of an encode counts each table entry that an 8 × 8 tile needs
once per tile, at the rate at which this chip reads or adds 8-byte entries at random rows, measured in the same run; the
bound of an MLP is its products at the chip's measured bfloat16 rate or its bytes at the measured copy bandwidth,
whichever takes longer. The bound of a step is made of the same (see timing/bounds.py).
"""

import layerloom  # noqa: F401, I001  (sets how threads wait, before PyTorch is imported)

import argparse
import tempfile
from pathlib import Path

import torch
from timing import commands, kernels, steps
from timing.figures import Figure, show, store

from layerloom import media
from layerloom.data.clip import Clip
from layerloom.cli.demo import SIZES, write_masks
from layerloom.synthetic.clip import make_clip
from layerloom.train.settings import settings_for


def main() -> None:
    options = _options()
    device = ("cuda" if torch.cuda.is_available() else "cpu") if options.device == "auto" else options.device
    figures = _measure(options, device)
    show(figures)
    store(figures, device)


def _measure(options: argparse.Namespace, device: str) -> list[Figure]:
    size, frames, tiles = (
        getattr(options, "size", None),
        getattr(options, "length", None),
        getattr(options, "tiles", None),
    )
    match options.part:
        case "kernels":
            return kernels.kernel_figures(device)
        case "sweep":
            return kernels.sweep_figures()
        case "step":
            return steps.step_figures(device, size, frames, tiles, options.repeats)
        case "profile":
            return steps.profile_step(device, size, frames, tiles, options.layers - 1)
        case "stages":
            return commands.stage_figures(_footage(options), device, options.repeats)
        case "whole":
            return commands.whole_figures(_footage(options), device, options.repeats)
        case "reach":
            clip = _synthetic(device) if str(options.clip) == "synthetic" else _prepared(options, device)
            settings = settings_for(options.quality, device)
            return steps.reach_figures(options.clip.name, clip, settings, device, options.targets, options.seconds)
        case _:
            base = options.height, options.length, options.layers
            return commands.scaling_figures(device, options.axis, options.target, options.seconds, base)


def _footage(options: argparse.Namespace) -> commands.Footage:
    first, _, end = options.frames.partition(":")
    frames = (int(first) if first else None, int(end) if end else None)
    given = options.quality, options.long_edge, frames, options.flow, options.flow_weights
    return commands.Footage(options.clip, options.masks, *given)


def _prepared(options: argparse.Namespace, device: str) -> Clip:
    return commands.prepare_footage(_footage(options), device, lambda report: None)


def _synthetic(device: str) -> Clip:
    """The demo's clip, by way of files and DIS as anyone's."""
    truth = make_clip(*SIZES[device])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "frames").mkdir()
        for number, frame in enumerate(truth.frames):
            media.write_image(folder / "frames" / f"{number:05d}.png", frame)
        write_masks(truth, folder / "masks")
        footage = commands.Footage(folder / "frames", folder / "masks", "standard", None, (None, None), "dis", None)
        return commands.prepare_footage(footage, device, lambda report: None)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parts = parser.add_subparsers(dest="part", required=True)
    for name in ("kernels", "sweep"):
        parts.add_parser(name)
    for name in ("step", "profile"):
        part = parts.add_parser(name)
        part.add_argument("--size", type=_size, default=(854, 480), help="WIDTHxHEIGHT of the made-up clip")
        part.add_argument("--length", type=int, default=60, help="its frames")
        part.add_argument("--tiles", type=int, help="tiles of 8 × 8 pixels a step; by default what decompose takes")
        part.add_argument("--layers", type=int, default=2, help="of profile; step times two and three")
        part.add_argument("--repeats", type=int, default=20)
    for name in ("stages", "whole", "reach"):
        _add_footage(parts.add_parser(name))
    scaling = parts.add_parser("scaling")
    scaling.add_argument("axis", choices=["resolution", "frames", "layers"])
    scaling.add_argument("--height", type=int, default=480)
    scaling.add_argument("--length", type=int, default=30)
    scaling.add_argument("--layers", type=int, default=2)
    scaling.add_argument("--target", type=float, default=30.0, help="dB")
    scaling.add_argument("--seconds", type=float, default=30.0, help="of training at most, a case")
    options = parser.parse_args()
    if options.part == "sweep" and not torch.cuda.is_available():
        parser.error("sweep needs a CUDA GPU")
    return options


def _add_footage(part: argparse.ArgumentParser) -> None:
    part.add_argument("clip", type=Path, help="a video file or a folder of images, as decompose takes it")
    part.add_argument("--masks", type=Path)
    part.add_argument("--quality", default="standard", choices=["draft", "standard", "fine"])
    part.add_argument("--long-edge", type=int)
    part.add_argument("--frames", default=":", help="A:B")
    part.add_argument("--flow", default="dis", help="dis, raft, or a folder")
    part.add_argument("--flow-weights", type=Path)
    part.add_argument("--repeats", type=int, default=3)
    part.add_argument("--targets", type=float, nargs="+", default=[26.0, 27.0, 28.0, 29.0, 30.0], help="dB, of reach")
    part.add_argument("--seconds", type=float, default=120.0, help="of training at most, of reach")


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)


if __name__ == "__main__":
    main()

"""How fast frames are drawn: 1080p, two layers, an overlay on each. JSON lines go to results/rendering.jsonl.

    python benchmarks/rendering.py                          # on the CPU
    python benchmarks/rendering.py --device cuda            # on the GPU, beside the CPU
    python benchmarks/rendering.py --only edit open         # some of its parts, which --help lists

The project is made up, at the source's own size, its uv grids at their finest (a node for 2 × 2 pixels); its object
covers a seventh of the frame, and each overlay a third of its canvas. `reference`, `cpu` and `cuda` draw frames from
pictures that were read before; `cuda` leaves them on the GPU, with the host's work between them, and `host` fetches
them; `whole` decodes H.264, draws and encodes H.264 at once. `edit` moves a picture that is placed on the background
and draws one frame, as an editor does, everything counted, beside an overlay on the object or one on each layer;
`open` opens the project and draws its first frame, without imports and compiling. On the CPU the figure is that of
the process' own processor time on as many cores as there are, best of several rounds, since others may use the
machine; `whole`, `edit` and `open` are by the clock.

The floor is the time in which the bytes that a frame must touch can be read or written once: source and output, the
uv grids and mattes, and the texels under the pixels; at the bandwidth of a large copy, measured in the same run. The
networks' is that of their products alone.
"""

import layerloom  # noqa: F401, I001  (sets how threads wait, before PyTorch is imported)

import argparse
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from unittest.mock import MagicMock

import cv2
import numpy as np
import torch

RESULTS = Path(__file__).parent / "results" / "rendering.jsonl"
SIZE = (1920, 1080)
FRAMES = 12
MIDDLE = FRAMES // 2
PARTS = ("reference", "cpu", "cuda", "host", "networks", "whole", "edit", "open")


class _Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Packages that only files of video and documents need, and that a machine may lack, as empty shells."""

    def __init__(self, names: set[str]) -> None:
        self._names = names

    def find_spec(self, name: str, path: object = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        return (
            importlib.machinery.ModuleSpec(name, self, is_package=True) if name.split(".")[0] in self._names else None
        )

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = MagicMock(name=spec.name)
        module.__path__, module.__spec__ = [], spec
        return module

    def exec_module(self, module: ModuleType) -> None:
        pass


MISSING = {name for name in ("av", "OpenEXR", "psd_tools") if importlib.util.find_spec(name) is None}
sys.meta_path.insert(0, _Absent(MISSING))

from layerloom import media  # noqa: E402
from layerloom.compose.composition import compose  # noqa: E402
from layerloom.compose.shot import still_shot  # noqa: E402
from layerloom.data.clip import SourceReference  # noqa: E402
from layerloom.data.mattes import own_alphas  # noqa: E402
from layerloom.data.project import BakedLayer, Project  # noqa: E402
from layerloom.edits.canvas import At, Overlay, Place  # noqa: E402
from layerloom.render.renderer import Renderer  # noqa: E402
from layerloom.render.scene import Inputs, Scene  # noqa: E402
from layerloom.render.stream import draw_shots  # noqa: E402

Draw = Callable[[int], object]
"""Draws a frame of the project."""


@dataclass(frozen=True)
class Figure:
    """Frames a second, and what bounds them. floor_ms: see above; None where it says nothing."""

    what: str
    mode: str
    frames_per_second: float
    ms_a_frame: float
    floor_ms: float | None
    measured: str


# The made-up project


def make_project(folder: Path) -> Project:
    """Two layers that turn and bend a little, in changing light, under overlays NAME.png in the folder."""
    rng = np.random.default_rng(0)
    layers = [_layer(rng, "object", (760, 700)), _layer(rng, "background", (2300, 1250))]
    for layer in layers:
        height, width = layer.texture.shape[:2]
        image = np.zeros((height, width, 4), np.uint8)
        axes = (round(0.33 * width), round(0.32 * height))
        cv2.ellipse(image, (width // 2, height // 2), axes, 0, 0, 360, (220, 60, 40, 255), -1)
        media.write_image(folder / f"{layer.name}.png", cv2.GaussianBlur(image, (0, 0), 2))
    picture = rng.integers(0, 256, (200, 320, 4), np.uint8)
    picture[..., 3] = 255
    media.write_image(folder / "picture.png", picture)
    fps = Fraction(24)
    source = _write_source(folder, rng, fps) if "av" not in MISSING else None
    reference = SourceReference(
        folder / "source.mp4", source or "0" * 64, SIZE, 0, FRAMES, fps, tuple(index / fps for index in range(FRAMES))
    )
    arrays, settings = _networks(layers)
    return Project.create(folder / "clip.loom", reference, SIZE, layers, arrays, settings, {}, {})


def _layer(rng: np.random.Generator, name: str, canvas: tuple[int, int]) -> BakedLayer:
    width, height = canvas
    is_object = name == "object"
    texture = np.clip(0.5 + 0.15 * _smooth(rng, canvas, 3, 40) + 0.1 * rng.standard_normal((height, width, 3)), 0, 1)
    affine = np.zeros((FRAMES, 2, 3))
    alpha = np.zeros((FRAMES, SIZE[1], SIZE[0]), np.uint8)
    x, y = np.meshgrid(np.arange(SIZE[0]) + 0.5, np.arange(SIZE[1]) + 0.5)
    for frame in range(FRAMES):
        middle = np.array([500 + 20 * frame, 540 + 6 * frame] if is_object else [960, 540])
        scale, angle = 1.05 if is_object else 1.02, 0.01 * frame
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        shift = np.array([0, 0] if is_object else [8 * frame - 40, 0])
        affine[frame, :, :2], affine[frame, :, 2] = turn, np.array(canvas) / 2 + shift - turn @ middle
        distance = 300 - 300 * np.hypot((x - middle[0]) / 330, (y - middle[1]) / 300)
        alpha[frame] = np.rint(255 * np.clip(distance / 3 + 0.5, 0, 1))
    offset = np.stack([3 * _smooth(rng, (961, 541), 2, 12) for _ in range(FRAMES)])
    nodes = 129, round(128 * height / width) + 1
    light = np.exp(0.15 * np.stack([_smooth(rng, nodes, 3, 8) for _ in range(FRAMES)]))
    return BakedLayer(
        name=name,
        kind="object" if is_object else "background",
        texture=np.dstack([texture, np.ones((height, width))]).astype(np.float32),
        alpha=alpha if is_object else None,
        uv_affine=affine,
        uv_offset=offset.astype(np.float32),
        lighting=light.astype(np.float16),
    )


def _smooth(rng: np.random.Generator, size: tuple[int, int], channels: int, cells: int) -> np.ndarray:
    coarse = rng.standard_normal((cells, cells, channels)).astype(np.float32)
    return cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC).reshape(size[1], size[0], channels)


def make_pictures() -> list[np.ndarray]:
    """What the source shows; that the layers do not explain it makes no difference to the speed."""
    rng = np.random.default_rng(1)
    picture = np.clip(0.5 + 0.2 * _smooth(rng, SIZE, 3, 60), 0, 1)
    return [np.roll(media.quantise(picture, 8), 8 * frame, 1) for frame in range(FRAMES)]


def _write_source(folder: Path, rng: np.random.Generator, fps: Fraction) -> str:
    times = [index / fps for index in range(FRAMES)]
    with media.open_writer(str(folder / "source.mp4"), SIZE, times, fps, None) as writer:
        for picture in make_pictures():
            writer.write(picture)
    return media.probe(folder / "source.mp4").fingerprint


def _networks(layers: list[BakedLayer]) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """Untrained ones of the size that `standard` learns, with motion and mattes of the layers."""
    from layerloom.model.field import FieldSettings, LayeredField
    from layerloom.model.storage import field_to_arrays

    torch.manual_seed(0)
    motion = np.zeros((len(layers), FRAMES, 3, 3), np.float32)
    motion[:, :, :2], motion[:, :, 2, 2] = np.stack([layer.uv_affine for layer in layers]), 1
    canvases = tuple((layer.texture.shape[1], layer.texture.shape[0]) for layer in layers)
    alpha = layers[0].alpha
    assert alpha is not None
    support = np.stack([cv2.dilate(plane, np.ones((17, 17))) > 0 for plane in alpha])
    codes = np.where(support, np.maximum(alpha, 1), 0)[None].astype(np.uint8)
    field = LayeredField(SIZE, FRAMES, canvases, torch.from_numpy(motion), torch.from_numpy(codes), FieldSettings())
    return field_to_arrays(field), {"field": asdict(FieldSettings())}


# Floors


def touched_bytes(project: Project, mode: str) -> float:
    """Of a frame: source, output, grids, mattes, and the texels of what is seen, as the GPU stores them."""
    pixels = SIZE[0] * SIZE[1]
    total = pixels * (6.0 if mode == "detail" else 3.0)
    own = media.to_float(project.layers[0].alpha(FRAMES // 2))
    for index, share in enumerate((float((own > 0).mean()), float((own < 1).mean()))):
        layer = project.layers[index]
        texels = share * pixels * abs(float(np.linalg.det(layer.uv_affine[0, :, :2])))
        total += 4 * layer.uv_offset(0)[..., 0].size + 8 * layer.lighting_grid(0)[..., 0].size
        total += 8 * texels * (1 + 0.33)
        total += 2 * pixels if layer.kind == "object" else 0
    return total


def copy_bandwidth(device: str) -> float:
    """Bytes a second that a large copy reads and writes."""
    source = torch.zeros(2**28 if device == "cuda" else 2**25, device=device)
    target = torch.empty_like(source)
    best = min(_clocked(lambda: target.copy_(source), device) for _ in range(5))
    return 2 * source.numel() * 4 / best


def network_products(project: Project) -> float:
    """Operations of the networks' matrix products in a frame, where their layers are seen."""
    shapes = {name: value.shape for name, value in project.weights().items() if ".weights." in name}
    seen = float((project.layers[0].alpha(FRAMES // 2) > 0).mean())
    total = 0.0
    for name, (rows, columns) in shapes.items():
        total += 2.0 * rows * columns * SIZE[0] * SIZE[1] * (seen if name.startswith("layers.0") else 1.0)
    return total


def product_rate() -> float:
    """bfloat16 operations a second of a large product on the GPU."""
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    return 2 * 8192**3 / min(_clocked(lambda: a @ a, "cuda") for _ in range(5))


def _clocked(work: Callable[[], object], device: str) -> float:
    started = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


# Measuring


def cpu_seconds(draw: Draw, rounds: int, frames: int) -> float:
    """The process' processor time for a frame, the least of some rounds."""
    draw(0)
    best = float("inf")
    for _ in range(rounds):
        started = time.process_time()
        for frame in range(frames):
            draw(frame % FRAMES)
        best = min(best, (time.process_time() - started) / frames)
    return best


def gpu_seconds(draw: Draw, frames: int) -> float:
    """By the clock, for a frame of many, one after the other; the least of three rounds."""
    for frame in range(FRAMES):
        draw(frame)
    torch.cuda.synchronize()

    def run() -> None:
        for frame in range(frames):
            draw(frame % FRAMES)

    return min(_clocked(run, "cuda") for _ in range(3)) / frames


def kernel_seconds(launch: Callable[[], object]) -> float:
    """On the GPU alone, between events, launched so often that it is never idle."""
    times: list[float] = []
    for _ in range(5):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(100):
            launch()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 100 / 1e3)
    return min(times)


@dataclass(frozen=True)
class _Bench:
    project: Project
    edits: list[Overlay]
    pictures: list[np.ndarray]
    device: str

    def inputs(self, frame: int, mode: str) -> Inputs:
        source = self.pictures[frame] if mode == "detail" else None
        return Inputs(source, lambda number: own_alphas(self.project, number), 8, as_solved=True)

    def figures(self, part: str) -> Iterator[Figure]:
        """Of one part, or none where it cannot run here."""
        if part in ("cuda", "host") and self.device != "cuda":
            return
        if part == "whole" and "av" in MISSING:
            print("whole: PyAV is not installed here")
            return
        yield from {
            "reference": self.reference,
            "cpu": self.cpu,
            "cuda": self.cuda,
            "host": self.host,
            "networks": self.networks,
            "whole": self.whole,
            "edit": self.edit,
            "open": self.open,
        }[part]()

    def reference(self) -> Iterator[Figure]:
        from layerloom.render import reference

        scene, device = Scene(compose(self.project, self.edits)), torch.device(self.device)

        def draw(frame: int) -> object:
            return reference.render_shot(scene, still_shot(self.project, frame), self.inputs(frame, "detail"), device)

        if self.device == "cuda":
            yield self._by_clock("reference", "detail", gpu_seconds(draw, 12), None)
        else:
            yield self._by_processor("reference", "detail", cpu_seconds(draw, 2, 1), None)

    def cpu(self) -> Iterator[Figure]:
        from layerloom.render.cpu.backend import CpuBackend

        backend, scene = CpuBackend(self.project), Scene(compose(self.project, self.edits))
        for mode in ("detail", "synthesis"):
            shots = [still_shot(self.project, frame) for frame in range(FRAMES)]
            inputs = [self.inputs(frame, mode) for frame in range(FRAMES)]
            seconds = cpu_seconds(lambda frame: backend.draw(scene, shots[frame], inputs[frame]), 4, FRAMES)  # noqa: B023
            floor = touched_bytes(self.project, mode) / copy_bandwidth("cpu")
            yield self._by_processor("cpu", mode, seconds, floor)

    def cuda(self) -> Iterator[Figure]:
        from layerloom.render.cuda import kernel
        from layerloom.render.cuda.backend import CudaBackend

        backend = CudaBackend(self.project, torch.device("cuda"))
        scene = Scene(compose(self.project, self.edits))
        bandwidth = copy_bandwidth("cuda")
        for mode in ("detail", "synthesis"):
            shots = [still_shot(self.project, frame) for frame in range(FRAMES)]
            inputs = [self.inputs(frame, mode) for frame in range(FRAMES)]

            def draw(frame: int) -> object:
                return backend.draw_there(scene, shots[frame], inputs[frame])  # noqa: B023

            floor = touched_bytes(self.project, mode) / bandwidth
            yield self._by_clock("cuda", mode, gpu_seconds(draw, 1000), floor)
            launches: list[tuple[tuple[object, ...], dict[str, object]]] = []
            original = kernel.draw_frame
            kernel.draw_frame = lambda *values, **named: launches.append((values, named))  # noqa: B023
            draw(0)
            kernel.draw_frame = original
            (values, named) = launches[0]
            seconds = kernel_seconds(lambda: original(*values, **named))  # noqa: B023
            yield Figure("cuda, kernel alone", mode, 1 / seconds, 1e3 * seconds, 1e3 * floor, "GPU time")

    def host(self) -> Iterator[Figure]:
        from layerloom.render.cuda.backend import CudaBackend

        backend = CudaBackend(self.project, torch.device("cuda"))
        scene = Scene(compose(self.project, self.edits))
        inputs = [self.inputs(frame, "detail") for frame in range(FRAMES)]
        seconds = gpu_seconds(lambda frame: backend.draw(scene, still_shot(self.project, frame), inputs[frame]), 200)
        yield self._by_clock("cuda, from and to the host", "detail", seconds, None)

    def networks(self) -> Iterator[Figure]:
        from layerloom.neural_render import Networks

        networks = Networks(compose(self.project, self.edits), torch.device(self.device))

        def draw(frame: int) -> object:
            return networks.draw(still_shot(self.project, frame))

        if self.device == "cuda":
            floor = network_products(self.project) / product_rate()
            yield self._by_clock("networks", "synthesis", gpu_seconds(draw, 100), floor)
        else:
            yield self._by_processor("networks", "synthesis", cpu_seconds(draw, 1, 1), None)

    def whole(self) -> Iterator[Figure]:
        out = self.project.path.parent / "out.mp4"
        shots = [still_shot(self.project, frame) for frame in range(FRAMES)] * 4
        times = [Fraction(index, 24) for index in range(len(shots))]
        device = "cuda" if self.device == "cuda" else "cpu"
        composition = compose(self.project, self.edits)
        for _ in range(2):  # the first one compiles
            started, used = time.perf_counter(), time.process_time()
            with media.open_writer(str(out), SIZE, times, Fraction(24), None) as writer:
                for picture in draw_shots(Renderer(self.project, device), composition, shots):
                    writer.write(picture)
            seconds, used = time.perf_counter() - started, time.process_time() - used
            out.unlink()
        yield self._by_clock(f"decode, {device}, encode", "detail", seconds / len(shots), None)
        yield self._by_processor(f"decode, {device}, encode", "detail", used / len(shots), None)

    def edit(self) -> Iterator[Figure]:
        """By the clock, the median of many: what a user waits for."""
        renderer = Renderer(self.project, self.device)  # pyright: ignore[reportArgumentType]
        for what, others in (("one layer", self.edits[:1]), ("both layers", self.edits)):
            composition = compose(self.project, [*others, self._picture(0)])
            renderer.draw(composition, MIDDLE)
            seconds: list[float] = []
            for step in range(1, 40):
                started = time.perf_counter()
                composition = composition.with_edits([*others, self._picture(step)])
                renderer.draw(composition, MIDDLE)
                seconds.append(time.perf_counter() - started)
            yield self._by_clock(f"a picture moved, overlays on {what}", "detail", float(np.median(seconds)), None)

    def open(self) -> Iterator[Figure]:
        """By the clock, the best of some, in this process: what is compiled and imported is left out."""
        for what, edits in (("no edits", []), ("three edits", [*self.edits, self._picture(0)])):
            seconds: list[float] = []
            for _ in range(4):
                started = time.perf_counter()
                project = Project.open(self.project.path)
                renderer = Renderer(project, self.device)  # pyright: ignore[reportArgumentType]
                renderer.draw(compose(project, edits), 0)
                seconds.append(time.perf_counter() - started)
            yield self._by_clock(f"project to first frame, {what}", "detail", min(seconds[1:]), None)

    def _picture(self, step: int) -> Place:
        place = At(frame=MIDDLE, x=1200 + 3 * step, y=500 + 2 * step, height=200)
        return Place("background", self.project.path.parent / "picture.png", place)

    def _by_clock(self, what: str, mode: str, seconds: float, floor: float | None) -> Figure:
        return Figure(what, mode, 1 / seconds, 1e3 * seconds, None if floor is None else 1e3 * floor, "clock")

    def _by_processor(self, what: str, mode: str, seconds: float, floor: float | None) -> Figure:
        cores = os.cpu_count() or 1
        measured = f"processor time / {cores} cores"
        ms = 1e3 * seconds / cores
        return Figure(what, mode, 1e3 / ms, ms, None if floor is None else 1e3 * floor, measured)


# Results


def show(figures: list[Figure]) -> str:
    """A table: the last column says how many times as long as the floor a frame takes."""
    rows = ["| what | mode | frames/s | ms | floor ms | × floor | measured |", "|---|---|---|---|---|---|---|"]
    for f in figures:
        floor = "–" if f.floor_ms is None else f"{f.floor_ms:.4g}"
        times = "–" if f.floor_ms is None else f"{f.ms_a_frame / f.floor_ms:.1f}"
        speed = f"{f.frames_per_second:.4g} | {f.ms_a_frame:.4g}"
        rows.append(f"| {f.what} | {f.mode} | {speed} | {floor} | {times} | {f.measured} |")
    return "\n".join(rows)


def store(figures: list[Figure], device: str) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
    shared = {"date": time.strftime("%Y-%m-%d %H:%M:%S"), "device": name, "cores": os.cpu_count(), "commit": commit}
    with RESULTS.open("a") as file:
        for figure in figures:
            file.write(json.dumps({**shared, **asdict(figure)}) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = make_project(Path(folder))
        edits = [Overlay(layer.name, Path(folder) / f"{layer.name}.png") for layer in project.layers]
        bench = _Bench(project, edits, make_pictures(), options.device)
        figures = [figure for part in options.only for figure in bench.figures(part)]
    print(show(figures))
    store(figures, options.device)


if __name__ == "__main__":
    main()

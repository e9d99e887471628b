"""The training loop: a generator of records that can be stopped, stored and taken up again."""

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from layerloom.core.geometry import Size, transform_points
from layerloom.core.interrupts import postponed_interrupts
from layerloom.data.clip import Clip
from layerloom.model.canvas import ZONE_CELL_TEXELS, Canvas, plan_canvases, plan_zone
from layerloom.model.field import LayeredField
from layerloom.ops.dispatch import choose_kernel, note_choice
from layerloom.train.losses import TERMS, Evaluation, Term, structure
from layerloom.train.optimiser import FlatAdam, PlainAdam
from layerloom.train.recovery import CHECK_STEPS, Guard, KeptState, Tell, Training, ignore
from layerloom.train.sampling import Batch, Sampler, alpha_start, every_second_pixel
from layerloom.train.schedule import Schedule
from layerloom.train.settings import TILE, TrainSettings

if TYPE_CHECKING:
    from layerloom.train.fused.step import FusedStep

FAR_PIXELS = 100.0
PATCH_TILES = 64
"""How many tiles of a batch lend one 3×3 patch to the lighting consistency term."""
REPORT_SECONDS = 0.5
COLOUR = [term.name for term in TERMS].index("colour")


@dataclass(frozen=True)
class TrainingRecord:
    """Where training stands. psnr: of the last steps' pixels, dB; terms: each loss term, unweighted."""

    step: int
    steps: int
    seconds: float
    psnr: float
    terms: dict[str, float]


class Trainer(Training):
    """Learns a LayeredField from a Clip. `run` yields a record about twice a second and at the end."""

    def __init__(self, clip: Clip, settings: TrainSettings, device: torch.device) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.device = settings, device
        self.canvases = plan_canvases(clip)
        start = alpha_start(clip.masks)
        self.field = _make_field(clip, self.canvases, start, settings).to(device)
        self.sampler = Sampler(clip, start, settings.tiles, settings.object_share, device)
        self.inverse_motion = (
            torch.linalg.inv(torch.from_numpy(np.stack([canvas.motion for canvas in self.canvases]))).float().to(device)
        )
        self.zone = torch.from_numpy(plan_zone(clip.masks.coverage, self.canvases[-1])).to(device)
        self.step = 0
        self.rate_share = 1.0
        self.is_between_steps = True
        """Whether the state is whole; not after a step that failed."""
        rates = settings.rates
        self.schedule = Schedule(settings.steps, rates.decay_from, rates.final_share, settings.patience_db)
        self.history: list[TrainingRecord] = []
        self._graphs: dict[tuple[str, ...], torch.cuda.CUDAGraph] = {}
        self._recent = torch.zeros(len(TERMS), device=device)
        # Of the steps since the schedule was last told: the colour term's sum, and how many there were.
        self._since_told = torch.zeros(2, device=device)
        # Constants live on the device: a recorded CUDA graph may not copy from the host.
        self._far_steps = torch.tensor([[0.0, 0.0], [FAR_PIXELS, 0.0], [0.0, FAR_PIXELS]], device=device)
        self._border = torch.tensor(clip.size, device=device) + TILE
        self._kernel = choose_kernel("training step", *self.field.parameters())
        self.optimiser, self._fused = self._choose_step()
        self._guard = Guard(self)

    def run(self, tell: Tell = ignore) -> Iterator[TrainingRecord]:
        """Train to the end. The caller may stop iterating at any point, `settle` and take the `state`.

        An interrupt waits for the end of a step, so that the state is whole when it is raised. Where memory is too
        small, or numbers stop being finite, steps are undone and become smaller (`Guard`), which is told;
        LayerloomError where that does not help.
        """
        self._guard.tell = tell
        started = reported = time.perf_counter()
        while self.step < self.schedule.steps:
            with postponed_interrupts():
                self._guard.take_step()
            now = time.perf_counter()
            if now - reported > REPORT_SECONDS or self.step == self.schedule.steps:
                reported = now
                yield self._report(time.perf_counter() - started)

    def take_step(self) -> None:
        """The next one, at its rates."""
        self.is_between_steps = False
        self.optimiser.scale_rates(self.schedule.share_of_rates(self.step) * self.rate_share)
        self._compute_or_replay()
        self.step += 1
        if self.schedule.is_watching(self.step):
            # The only time that the host waits for the device.
            colour, steps = self._since_told.tolist()
            self.schedule.note(_colour_psnr(colour / steps))
            self._since_told.zero_()
        self.is_between_steps = True

    @property
    def tiles(self) -> int:
        """Of a step."""
        return self.sampler.tiles

    @property
    def is_due(self) -> bool:
        """Whether it is time to look whether all numbers are finite."""
        return self.step % CHECK_STEPS[self.device.type] == 0 or self.step >= self.schedule.steps

    def take_tiles(self, tiles: int) -> None:
        """So many a step from now on."""
        self._graphs.clear()
        self.sampler.take(tiles)
        if self._fused is not None and isinstance(self.optimiser, FlatAdam):
            self._fused = None  # its arrays go first
            self._fused = self._fuse(self.optimiser)

    def settle(self) -> None:
        """Leave only what is finite: else go back to where it was. LayerloomError as `run`."""
        if self.step:
            self._guard.settle()

    def keep(self) -> KeptState:
        """A copy of the state on the device, but for chance."""
        tensors = {name: value.detach().clone() for name, value in self.tensors().items()}
        return KeptState(self.step, tensors, (self.schedule.steps, tuple(self.schedule.psnr_db)), len(self.history))

    def return_to(self, kept: KeptState) -> None:
        """Go back to a kept state. Chance goes on, so other tiles are drawn."""
        self._load(kept.tensors)
        self.step = kept.step
        self.schedule.steps, psnr_db = kept.schedule
        self.schedule.psnr_db = list(psnr_db)
        del self.history[kept.reports :]
        self.is_between_steps = True

    def take_unrecorded_steps(self) -> None:
        """One step of each kind that a training has, as they come: it loads their kernels."""
        for terms in (TERMS, tuple(term for term in TERMS if term.active_until == 1.0)):
            self._compute_step(terms)

    def forget_clip(self) -> None:
        """Let go of what steps are taken from: what was learned stays, and can be saved."""
        self._graphs.clear()
        self._fused = None
        del self.sampler

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What `restore` needs to go on as if nothing had been: tensors on the host, and plain values for JSON."""
        tensors = {**self.tensors(), "random": torch.get_rng_state()}
        if self.device.type == "cuda":
            tensors["random_cuda"] = torch.cuda.get_rng_state(self.device)
        history = [asdict(record) for record in self.history]
        smaller = {"tiles": self.tiles, "rate_share": self.rate_share}
        progress = {**smaller, "step": self.step, "psnr_db": self.schedule.psnr_db, "history": history}
        return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}, progress

    def restore(self, tensors: Mapping[str, Tensor], progress: Mapping[str, Any]) -> None:
        """Go on where `state` was taken, for the same clip and settings.

        KeyError, TypeError, ValueError or RuntimeError for what is no such state.
        """
        parts = {name: value.to(self.device) for name, value in tensors.items() if not name.startswith("random")}
        self._load(parts)
        self._guard.forget()
        self.step, self.rate_share = int(progress["step"]), float(progress.get("rate_share", 1.0))
        if progress.get("tiles", self.tiles) != self.tiles:
            self.take_tiles(int(progress["tiles"]))
        self.history = [TrainingRecord(**entry) for entry in progress["history"]]
        for psnr_db in progress["psnr_db"]:
            self.schedule.note(psnr_db)
        torch.set_rng_state(tensors["random"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["random_cuda"], self.device)

    def tensors(self) -> dict[str, Tensor]:
        """All that learning changes, as it lies on the device."""
        field = {f"field.{name}": value for name, value in self.field.state_dict().items()}
        adam = {f"adam.{name}": value for name, value in self.optimiser.state().items()}
        return {**field, **adam, "recent": self._recent, "since_told": self._since_told}

    def _load(self, tensors: Mapping[str, Tensor]) -> None:
        self.field.load_state_dict({n.removeprefix("field."): v for n, v in tensors.items() if n.startswith("field.")})
        self.optimiser.load({n.removeprefix("adam."): v for n, v in tensors.items() if n.startswith("adam.")})
        self._recent.copy_(tensors["recent"])
        self._since_told.copy_(tensors["since_told"])

    def _active_terms(self) -> tuple[Term, ...]:
        return tuple(term for term in TERMS if self.step <= term.active_until * self.settings.steps)

    def _compute_or_replay(self) -> None:
        """One optimiser step; on CUDA recorded once per set of active terms and replayed.

        But not one in plain PyTorch: its encoding copies small tensors from the host, which cannot be recorded.
        """
        terms = self._active_terms()
        if self.device.type != "cuda" or self._kernel == "reference":
            self._compute_step(terms)
            return
        key = tuple(term.name for term in terms)
        if key not in self._graphs:
            self._graphs[key] = self._record(terms)
        else:
            self._graphs[key].replay()

    def _record(self, terms: tuple[Term, ...]) -> torch.cuda.CUDAGraph:
        """Warm up on a side stream, as recording demands (each warm-up is a real step), then record.

        Recording happens on the same stream, so that libraries have their workspaces there already, and forgives
        what other threads do meanwhile (the allocator may free memory of the preparation).
        """
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self._compute_step(terms)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            self._compute_step(terms)
        return graph

    def _choose_step(self) -> "tuple[PlainAdam | FlatAdam, FusedStep | None]":
        """The step in Triton where that runs and the networks fit it, else the plain one, which is its definition."""
        rates = self.settings.rates
        if self._kernel != "triton":
            return PlainAdam(self.field, rates), None
        from layerloom.train.fused import step as fused

        reason = fused.obstacle(self.field)
        if reason:
            note_choice(f"training step on {self.device.type}", "reference", reason)
            return PlainAdam(self.field, rates), None
        adam = FlatAdam(self.field, rates)
        return adam, self._fuse(adam)

    def _fuse(self, adam: FlatAdam) -> "FusedStep":
        from layerloom.train.fused.step import FusedStep

        constants = self.inverse_motion, self._far_steps, self.zone, PATCH_TILES
        return FusedStep(self.field, self.sampler, *constants, adam.grads)

    def _compute_step(self, terms: tuple[Term, ...]) -> None:
        choice = self.sampler.draw()
        if self._fused is not None:
            values = self._fused.compute(terms, choice)
        else:
            values = self._gradients(terms, choice)
        self.optimiser.step()
        self._recent.lerp_(values, 0.05)
        self._since_told[0] += values[COLOUR]
        self._since_told[1] += 1

    def _gradients(self, terms: tuple[Term, ...], choice: Float[Tensor, "tiles choices"]) -> Float[Tensor, " terms"]:
        """Set the gradients of the weighted sum of `terms`; return each one's value: the definition of a step."""
        self.field.zero_grad(set_to_none=True)
        batches = self.sampler.read(choice)
        pixels = sum(len(batch.frame) for batch in batches)
        values = torch.zeros(len(TERMS), device=self.device)
        total = torch.zeros((), device=self.device)
        for batch in batches:
            evaluation = self._evaluate(batch)
            self._let_structure_bend(evaluation)
            share = len(batch.frame) / pixels
            for term in terms:
                value = term.function(evaluation) * share
                total = total + term.weight * value
                values[TERMS.index(term)] += value.detach()
        total.backward()  # pyright: ignore[reportUnknownMemberType]
        return values

    def _evaluate(self, batch: Batch) -> Evaluation:
        field, background_only = self.field, batch.background_only
        sample = field(batch.xy, batch.frame, background_only)
        second = every_second_pixel(self.device)
        partner_uv, _ = field.mapping(batch.partner_xy, batch.partner_frame, background_only)
        far_uv, far_start = field.mapping(batch.xy[:, :1] + self._far_steps, batch.frame, background_only)
        shown = field.shown(background_only)
        patches = [self._patches(index, batch, uv) for index, uv in zip(shown, sample.uv, strict=True)]
        return Evaluation(
            batch,
            sample,
            sample.uv[:, :, second],
            sample.alpha[:, :, second],
            partner_uv,
            field.alpha(batch.partner_xy, batch.partner_frame, background_only),
            far_uv,
            far_start,
            *(torch.stack(part) for part in zip(*patches, strict=True)),
        )

    def _let_structure_bend(self, evaluation: Evaluation) -> None:
        """Of the colours' pull on the background's mapping, only `structure` counts where objects pass."""
        rows, columns = self.zone.shape
        cell = (evaluation.sample.uv_start[-1, :, 0] / ZONE_CELL_TEXELS).floor().long()
        passed = self.zone[cell[:, 1].clamp(0, rows - 1), cell[:, 0].clamp(0, columns - 1)] > 0
        share = torch.where(passed, structure(evaluation), 1.0)[:, None, None]

        def keep_share(grad: Tensor) -> Tensor:
            return torch.cat([grad[:-1], grad[-1:] * share])

        evaluation.sample.texture_uv.register_hook(keep_share)

    def _patches(
        self, index: int, batch: Batch, uv: Float[Tensor, "n k 2"]
    ) -> tuple[Float[Tensor, "m 9 3"], Float[Tensor, "m 9 3"], Float[Tensor, " m"]]:
        """Lighting of 3×3 texel patches when seen, and at a random time; weight 1 if they are out of the frame then."""
        layer = self.field.layer(index)
        frame = batch.frame[:PATCH_TILES]
        around = torch.arange(-1, 2, device=self.device, dtype=torch.float32)
        patch = uv[:PATCH_TILES, :1].detach() + torch.cartesian_prod(around, around)
        other = batch.other_frame[:PATCH_TILES]
        where = transform_points(self.inverse_motion[index, other], patch[:, 4])
        outside = ((where < -TILE) | (where > self._border)).any(-1)
        return layer.lighting(patch, frame), layer.lighting(patch, other), outside.float()

    def _report(self, seconds: float) -> TrainingRecord:
        settled = 1 - 0.95 ** max(self.step, 1)
        values = dict(zip((term.name for term in TERMS), (self._recent / settled).tolist(), strict=True))
        record = TrainingRecord(self.step, self.schedule.steps, seconds, _colour_psnr(values["colour"]), values)
        self.history.append(record)
        return record


def _colour_psnr(colour: float) -> float:
    """In dB, of the colour term, which is a sum over three channels."""
    return -10 * math.log10(max(colour / 3, 1e-10))


def _make_field(clip: Clip, canvases: tuple[Canvas, ...], start: np.ndarray, settings: TrainSettings) -> LayeredField:
    sizes: tuple[Size, ...] = tuple(canvas.size for canvas in canvases)
    motion = torch.from_numpy(np.stack([canvas.motion for canvas in canvases])).float()
    return LayeredField(clip.size, len(clip.frames), sizes, motion, torch.from_numpy(start), settings.field)

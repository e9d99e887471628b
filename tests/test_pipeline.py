"""prepare and decompose as an API: what they hand over, and what they refuse."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from layerloom import decompose as pipeline
from layerloom import media
from layerloom.core.errors import LayerloomError
from layerloom.core.progress import Report
from layerloom.data.clip import FlowFields, Masks
from layerloom.data.project import Project
from layerloom.decompose import check_new_project, choose_device, decompose, default_long_edge, is_resumable, prepare
from layerloom.prepare.discover.objects import Discovery
from layerloom.prepare.flow.compute import DIS, FlowSource, compute_flow
from layerloom.synthetic.clip import SyntheticClip, make_clip
from layerloom.train.settings import settings_for

CPU = torch.device("cpu")
SIZE, FRAMES = (96, 64), 5


@pytest.fixture(scope="module")
def truth() -> SyntheticClip:
    return make_clip(SIZE, FRAMES, seed=2)


@pytest.fixture(scope="module")
def footage(truth: SyntheticClip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """frames/ and masks/ball/ in one folder."""
    folder = tmp_path_factory.mktemp("footage")
    (folder / "masks" / "ball").mkdir(parents=True)
    (folder / "frames").mkdir()
    for number, (frame, mask) in enumerate(zip(truth.frames, truth.masks[0], strict=True)):
        media.write_image(folder / "frames" / f"{number:05d}.png", frame)
        media.write_image(folder / "masks" / "ball" / f"{number:05d}.png", mask)
    return folder


def test_a_clip_holds_the_frames_asked_for(footage: Path, truth: SyntheticClip) -> None:
    clip = prepare(footage / "frames", masks=footage / "masks", frames=(1, 4), device=CPU)
    assert np.array_equal(clip.frames, truth.frames[1:4])
    assert clip.layer_names == ("ball", "background")
    assert (clip.source.first_frame, clip.source.frames, clip.source.size) == (1, 3, SIZE)
    assert clip.source.timestamps[0] == 0
    assert [field.step for field in clip.flow.fields] == [1, 2]


def test_a_clip_is_reduced_to_the_long_edge(footage: Path) -> None:
    clip = prepare(footage / "frames", masks=footage / "masks", long_edge=66, device=CPU)
    assert clip.size == (66, 44)
    assert clip.source.size == SIZE


def test_where_nothing_moves_there_is_one_layer_and_word_of_it(tmp_path: Path, truth: SyntheticClip) -> None:
    for number in range(4):
        media.write_image(tmp_path / f"{number}.png", truth.frames[0])
    reports: list[Report] = []
    clip = prepare(tmp_path, device=CPU, on_report=reports.append)
    assert clip.layer_names == ("background",)
    assert any("one background layer" in (report.message or "") for report in reports)


@pytest.mark.parametrize(("explained", "doubted"), [(0.95, False), (0.6, True)])
def test_found_masks_that_leave_out_much_of_what_moves_are_doubted(
    explained: float, doubted: bool, footage: Path, truth: SyntheticClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks = Masks(("object1",), truth.masks[:1], np.full_like(truth.masks[:1], 160))
    monkeypatch.setattr(pipeline, "discover_masks", lambda *_: Discovery(masks, explained))
    reports: list[Report] = []
    clip = prepare(footage / "frames", device=CPU, on_report=reports.append)
    assert clip.layer_names == ("object1", "background")
    told = [report.message for report in reports if report.message]
    assert told == (
        ["doubtful masks: 40% of what moves is in no object; look at the mattes, or give --masks"] if doubted else []
    )


def test_deep_footage_is_learned_from_and_edited_deep(tmp_path: Path, truth: SyntheticClip) -> None:
    for number, frame in enumerate(truth.frames[:3]):
        media.write_image(tmp_path / f"{number}.png", frame.astype(np.uint16) * 257)
    clip = prepare(tmp_path, device=CPU)
    assert np.array_equal(clip.frames, truth.frames[:3])
    (first, *_) = list(pipeline._source_frames(clip))
    assert first.dtype == np.uint16


def test_the_same_seed_learns_the_same(footage: Path, tmp_path: Path) -> None:
    clip = prepare(footage / "frames", masks=footage / "masks", device=CPU)
    settings = replace(settings_for("draft", "cpu", 7), steps=5, tiles=8)
    torch.set_num_threads(1)
    made = [decompose(clip, tmp_path / f"{n}.loom", settings=settings, device=CPU) for n in range(2)]
    first, second = (project.weights() for project in made)
    assert all(np.allclose(first[name], second[name], atol=1e-5) for name in first)
    assert made[0].settings["steps"] == 5 and made[0].provenance["kernels"]
    assert len(made[0].figures["psnr_per_frame"]) == FRAMES


def test_an_interrupt_while_baking_keeps_what_was_learned(
    footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    clip = prepare(footage / "frames", masks=footage / "masks", device=CPU)
    settings = replace(settings_for("draft", "cpu"), steps=3, tiles=8)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pipeline, "bake", interrupt)
        decompose(clip, tmp_path / "a.loom", settings=settings, device=CPU)
    assert is_resumable(tmp_path / "a.loom") and not (tmp_path / "a.loom").exists()
    decompose(clip, tmp_path / "a.loom", settings=settings, device=CPU, resume=True)
    assert not is_resumable(tmp_path / "a.loom")
    assert Project.open(tmp_path / "a.loom").figures["history"][-1]["step"] == 3


LETS_GO = """
import sys, weakref
from dataclasses import replace
from pathlib import Path
import torch
from layerloom import pipeline

def prepare():
    clip = pipeline.prepare(Path(sys.argv[1]) / "frames", masks=Path(sys.argv[1]) / "masks", device=device)
    held.extend(map(weakref.ref, (clip.flow.vectors, clip.flow.confidence)))
    return clip

def note(report):
    seen.setdefault(report.stage, [array() is not None for array in held])

device, held, seen = torch.device("cpu"), [], {}
settings = replace(pipeline.settings_for("draft", "cpu"), steps=2, tiles=8)
pipeline.decompose(prepare(), Path(sys.argv[2]), settings=settings, device=device, on_report=note)
assert seen["train"] == [True, True] and seen["bake"] == seen["store"] == [False, False], seen
"""


def test_flow_is_let_go_of_before_baking(footage: Path, tmp_path: Path) -> None:
    """In a process of its own: here, what checks annotations holds on to arguments."""
    words = [sys.executable, "-c", LETS_GO, str(footage), str(tmp_path / "a.loom")]
    run = subprocess.run(words, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_flow_is_prepared_as_learning_reads_it(footage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def copy(*fields: object) -> FlowFields:
        raise AssertionError("flow was copied")

    monkeypatch.setattr(FlowFields, "of", copy)
    prepare(footage / "frames", masks=footage / "masks", device=CPU)


def test_devices() -> None:
    assert choose_device("cpu") == CPU
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(LayerloomError, match="allowed are auto, cpu, cuda"):
        choose_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(LayerloomError, match="no CUDA GPU here"):
            choose_device("cuda")


def test_finer_quality_learns_larger() -> None:
    for device in (CPU, torch.device("cuda")):
        sizes = [default_long_edge(quality, device) for quality in ("draft", "standard", "fine")]
        assert sizes == sorted(sizes) and len(set(sizes)) == 3


def test_a_project_needs_a_free_place_in_a_folder(tmp_path: Path) -> None:
    check_new_project(tmp_path / "new.loom")
    (tmp_path / "old.loom").mkdir()
    for path, words in ((tmp_path / "old.loom", "exists already"), (tmp_path / "a" / "b.loom", "does not exist")):
        with pytest.raises(LayerloomError, match=words):
            check_new_project(path)


def test_flow_files_may_be_of_another_size_and_lack_steps(footage: Path, tmp_path: Path) -> None:
    for t in range(FRAMES - 1):
        for name in (f"forward_{t:05d}", f"backward_{t + 1:05d}"):
            np.save(tmp_path / f"{name}.npy", np.zeros((32, 48, 2), np.float32))
    clip = prepare(footage / "frames", masks=footage / "masks", flow=tmp_path, device=CPU)
    assert clip.flow.steps == (1,) and clip.flow.vectors.shape == (1, 2, FRAMES, 32, 48, 2)
    assert clip.flow.confidence[0, 0, :-1].all() and not clip.flow.confidence[0, 0, -1].any()


def test_objects_are_found_by_the_flow_that_tells_best_what_moves(
    footage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RAFT's is what is learned from, where it is asked for, but objects are found by DIS."""
    made: list[tuple[str, object]] = []
    told: list[object] = []

    def flow(frames: np.ndarray, steps: tuple[int, ...], source: FlowSource = DIS, *_: object) -> object:
        fields = compute_flow(frames, steps)
        made.append((source.method, fields))
        return fields

    def find(frames: np.ndarray, fields: object) -> Discovery:
        told.append(fields)
        nothing = np.zeros((0, *frames.shape[:3]), np.uint8)
        return Discovery(Masks((), nothing, nothing), 1.0)

    monkeypatch.setattr(pipeline, "compute_flow", flow)
    monkeypatch.setattr(pipeline, "discover_masks", find)
    prepare(footage / "frames", flow="raft", device=CPU)
    assert [method for method, _ in made] == ["raft", "dis"] and told[0] is made[1][1]

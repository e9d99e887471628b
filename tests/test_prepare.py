"""prepare: what it hands over, what it says, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest
from footage import write_footage

import layerloom.prepare.prepare as module
from layerloom import media
from layerloom.core.progress import Progress
from layerloom.data.clip import FlowFields, Masks
from layerloom.decompose import _source_frames
from layerloom.prepare.discover.objects import Discovery
from layerloom.prepare.flow.compute import DIS, FlowSource, compute_flow
from layerloom.prepare.prepare import prepare
from layerloom.synthetic.clip import SyntheticClip, make_clip

SIZE, FRAMES = (96, 64), 5


@pytest.fixture(scope="module")
def truth() -> SyntheticClip:
    return make_clip(SIZE, FRAMES, seed=2)


@pytest.fixture(scope="module")
def footage(truth: SyntheticClip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_footage(tmp_path_factory.mktemp("footage"), truth)


def test_a_clip_holds_the_frames_asked_for(footage: Path, truth: SyntheticClip) -> None:
    clip = prepare(footage / "frames", masks=footage / "masks", frames=(1, 4), device="cpu")
    assert np.array_equal(clip.frames, truth.frames[1:4])
    assert clip.layer_names == ("ball", "background")
    assert (clip.source.first_frame, clip.source.frames, clip.source.size) == (1, 3, SIZE)
    assert clip.source.timestamps[0] == 0
    assert [field.step for field in clip.flow.fields] == [1, 2]


def test_a_clip_is_reduced_to_the_long_edge(footage: Path) -> None:
    clip = prepare(footage / "frames", masks=footage / "masks", long_edge=66, device="cpu")
    assert clip.size == (66, 44)
    assert clip.source.size == SIZE


def test_where_nothing_moves_there_is_one_layer_and_word_of_it(tmp_path: Path, truth: SyntheticClip) -> None:
    for number in range(4):
        media.write_image(tmp_path / f"{number}.png", truth.frames[0])
    reports: list[Progress] = []
    clip = prepare(tmp_path, device="cpu", on_progress=reports.append)
    assert clip.layer_names == ("background",)
    assert any("one background layer" in (progress.message or "") for progress in reports)


@pytest.mark.parametrize(("explained", "doubted"), [(0.95, False), (0.6, True)])
def test_found_masks_that_leave_out_much_of_what_moves_are_doubted(
    explained: float, doubted: bool, footage: Path, truth: SyntheticClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks = Masks(("object1",), truth.masks[:1], np.full_like(truth.masks[:1], 160))
    monkeypatch.setattr(module, "discover_masks", lambda *_: Discovery(masks, explained, (0.9,)))
    reports: list[Progress] = []
    clip = prepare(footage / "frames", device="cpu", on_progress=reports.append)
    assert clip.layer_names == ("object1", "background")
    told = [p.message for p in reports if p.message and "rate" not in p.message]  # images carry none
    assert told[0].startswith("found object1 (") and told[0].endswith("% of the frame, 90% sure)")
    assert told[1:] == (
        ["doubtful masks: 40% of what moves is in no object; look at the mattes, or give masks"] if doubted else []
    )


def test_deep_footage_is_learned_from_and_edited_deep(tmp_path: Path, truth: SyntheticClip) -> None:
    for number, frame in enumerate(truth.frames[:3]):
        media.write_image(tmp_path / f"{number}.png", frame.astype(np.uint16) * 257)
    clip = prepare(tmp_path, device="cpu")
    assert np.array_equal(clip.frames, truth.frames[:3])
    (first, *_) = list(_source_frames(clip))
    assert first.dtype == np.uint16


def test_flow_is_prepared_as_learning_reads_it(footage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def copy(*fields: object) -> FlowFields:
        raise AssertionError("flow was copied")

    monkeypatch.setattr(FlowFields, "of", copy)
    prepare(footage / "frames", masks=footage / "masks", device="cpu")


def test_flow_files_may_be_of_another_size_and_lack_steps(footage: Path, tmp_path: Path) -> None:
    for t in range(FRAMES - 1):
        for name in (f"forward_{t:05d}", f"backward_{t + 1:05d}"):
            np.save(tmp_path / f"{name}.npy", np.zeros((32, 48, 2), np.float32))
    clip = prepare(footage / "frames", masks=footage / "masks", flow=tmp_path, device="cpu")
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

    def find(frames: np.ndarray, fields: object, device: str) -> Discovery:
        told.append(fields)
        nothing = np.zeros((0, *frames.shape[:3]), np.uint8)
        return Discovery(Masks((), nothing, nothing), 1.0, ())

    monkeypatch.setattr(module, "compute_flow", flow)
    monkeypatch.setattr(module, "discover_masks", find)
    prepare(footage / "frames", flow="raft", device="cpu")
    assert [method for method, _ in made] == ["raft", "dis"] and told[0] is made[1][1]

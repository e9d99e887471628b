"""Kept clips: the same again, in a moment; damaged ones made anew; the oldest go first; never a reason to fail."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from clips import clip_from_truth, small_synthetic
from footage import write_footage

from layerloom.core.errors import LayerloomError
from layerloom.core.progress import Progress
from layerloom.data.array_store import ArrayStore, DamagedEntry
from layerloom.data.clip import Clip, Masks
from layerloom.data.clip_store import find_clip, keep_clip, open_store
from layerloom.data.content import content_hash
from layerloom.prepare.flow.compute import FlowSource
from layerloom.prepare.key import clip_key
from layerloom.prepare.prepare import prepare
from layerloom.synthetic.clip import SyntheticClip, make_clip

GIB = 2**30


@pytest.fixture(scope="module")
def clip() -> Clip:
    return clip_from_truth(small_synthetic())


@pytest.fixture
def store(tmp_path: Path) -> ArrayStore:
    return ArrayStore(tmp_path / "cache", GIB)


@pytest.fixture(scope="module")
def truth() -> SyntheticClip:
    return make_clip((96, 64), 5, seed=2)


@pytest.fixture
def footage(truth: SyntheticClip, tmp_path: Path) -> Path:
    return write_footage(tmp_path / "footage", truth)


def arrays(clip: Clip) -> list[np.ndarray]:
    return [clip.frames, clip.masks.coverage, clip.masks.trust, clip.flow.vectors, clip.flow.confidence, clip.motion]


def assert_equal(first: Clip, second: Clip) -> None:
    assert first.layer_names == second.layer_names and first.flow.steps == second.flow.steps
    assert first.source == second.source
    for one, other in zip(arrays(first), arrays(second), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def test_a_kept_clip_comes_back_memory_mapped(clip: Clip, store: ArrayStore) -> None:
    assert find_clip(store, "a", clip.source) is None
    kept = keep_clip(store, "a", clip, ["doubtful masks"])
    found = find_clip(store, "a", clip.source)
    assert found is not None and found[1] == ("doubtful masks",)
    for back in (kept, found[0]):
        assert_equal(back, clip)
        assert all(isinstance(array, np.memmap) for array in arrays(back))


def test_what_is_done_to_a_clip_does_not_reach_the_store(clip: Clip, store: ArrayStore) -> None:
    kept = keep_clip(store, "a", clip)
    kept.frames[:] = 0
    found = find_clip(store, "a", clip.source)
    assert found is not None
    assert_equal(found[0], clip)


def test_a_clip_without_objects_can_be_kept(clip: Clip, store: ArrayStore) -> None:
    nothing = np.zeros((0, *clip.frames.shape[:3]), np.uint8)
    bare = replace(clip, masks=Masks((), nothing, nothing), motion=clip.motion[-1:])
    assert_equal(keep_clip(store, "a", bare), bare)


def cut(folder: Path) -> None:
    file = folder / "vectors.npy"
    file.write_bytes(file.read_bytes()[:-1])


def flip_a_bit(folder: Path) -> None:
    data = bytearray((folder / "frames.npy").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "frames.npy").write_bytes(data)


def drop_an_array(folder: Path) -> None:
    (folder / "trust.npy").unlink()


def pickle_an_array(folder: Path) -> None:
    np.save(folder / "motion.npy", np.array([{"a": 1}], object), allow_pickle=True)


def change_a_type(folder: Path) -> None:
    np.save(folder / "motion.npy", np.load(folder / "motion.npy").astype(np.float32))


def empty_the_header(folder: Path) -> None:
    (folder / "header.json").write_text("")


def drop_the_header(folder: Path) -> None:
    (folder / "header.json").unlink()


def say_another_version(folder: Path) -> None:
    file = folder / "header.json"
    file.write_text(file.read_text().replace('"version": 1', '"version": 2'))


def say_more_layers(folder: Path) -> None:
    file = folder / "header.json"
    file.write_text(file.read_text().replace('"layers": [', '"layers": ["other", '))


def name_a_layer_badly(folder: Path) -> None:
    file = folder / "header.json"
    file.write_text(file.read_text().replace('"object', '"../object'))


DAMAGES = [
    *(cut, flip_a_bit, drop_an_array, pickle_an_array, change_a_type, empty_the_header, drop_the_header),
    *(say_another_version, say_more_layers, name_a_layer_badly),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_told_and_goes(damage: Callable[[Path], None], clip: Clip, store: ArrayStore) -> None:
    keep_clip(store, "a", clip)
    damage(store.folder / "clips" / "a")
    with pytest.raises(DamagedEntry):
        find_clip(store, "a", clip.source)
    assert find_clip(store, "a", clip.source) is None and not store.entries()


def test_those_used_longest_ago_go_first(clip: Clip, store: ArrayStore) -> None:
    keep_clip(store, "a", clip)
    (entry,) = store.entries()
    assert entry.about == str(clip.source.path)
    store = replace(store, limit_bytes=round(3.5 * entry.bytes))
    for age, key in ((300, "a"), (200, "b"), (100, "c")):
        keep_clip(store, key, clip)
        os.utime(store.folder / "clips" / key, (1e9 - age, 1e9 - age))
    find_clip(store, "a", clip.source)
    keep_clip(store, "d", clip)
    assert [entry.folder.name for entry in store.entries()] == ["c", "a", "d"]


def test_what_does_not_fit_is_not_kept(clip: Clip, store: ArrayStore) -> None:
    with pytest.raises(LayerloomError, match="are more than"):
        keep_clip(replace(store, limit_bytes=1000), "a", clip)
    assert not store.entries()


def test_the_cache_can_be_emptied(clip: Clip, store: ArrayStore) -> None:
    keep_clip(store, "a", clip)
    (store.folder / "clips" / ".b.0000-1-000000.partial").mkdir()
    os.utime(store.folder / "clips" / ".b.0000-1-000000.partial", (0, 0))
    assert len(store.leftovers()) == 1
    assert store.empty() > 10_000
    assert not list((store.folder / "clips").iterdir())


def test_the_environment_says_where_and_how_much(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LAYERLOOM_CACHE", str(tmp_path / "here"))
    monkeypatch.setenv("LAYERLOOM_CACHE_GIB", "1.5")
    assert open_store() == ArrayStore(tmp_path / "here", round(1.5 * GIB))
    assert open_store(tmp_path / "there", 2.0) == ArrayStore(tmp_path / "there", 2 * GIB)
    assert open_store("off") is None
    for wrong in ("much", "nan", "-1", "inf"):
        monkeypatch.setenv("LAYERLOOM_CACHE_GIB", wrong)
        with pytest.raises(LayerloomError, match="GiB: allowed are 0"):
            open_store()
    monkeypatch.delenv("LAYERLOOM_CACHE_GIB")
    monkeypatch.setenv("LAYERLOOM_CACHE", "off")
    assert open_store() is None
    monkeypatch.delenv("LAYERLOOM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert open_store() == ArrayStore(tmp_path / "layerloom", 20 * GIB)


def test_content_counts_not_the_place(tmp_path: Path, footage: Path) -> None:
    before = content_hash(footage)
    shutil.copytree(footage, tmp_path / "copy")
    assert content_hash(tmp_path / "copy") == before
    (tmp_path / "copy" / "frames" / "00001.png").rename(tmp_path / "copy" / "frames" / "00009.png")
    assert content_hash(tmp_path / "copy") != before
    assert content_hash(tmp_path / "absent") == ""
    frame = footage / "frames" / "00002.png"
    data, status = bytearray(frame.read_bytes()), frame.stat()
    data[-20] ^= 1
    frame.write_bytes(data)
    os.utime(frame, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert content_hash(footage) != before, "one bit, at the same size and time"


def test_all_that_decides_is_in_the_key(footage: Path, clip: Clip) -> None:
    source = replace(clip.source, path=footage / "frames")
    masks = footage / "masks"
    keys = [
        clip_key(source, (96, 64), masks, FlowSource()),
        clip_key(source, (96, 64), None, FlowSource()),
        clip_key(source, (48, 32), masks, FlowSource()),
        clip_key(source, (96, 64), masks, FlowSource(device="cuda")),
        clip_key(source, (96, 64), masks, FlowSource("raft", footage / "frames" / "00000.png")),
        clip_key(source, (96, 64), masks, FlowSource(footage / "frames")),
        clip_key(replace(source, first_frame=1), (96, 64), masks, FlowSource()),
        clip_key(replace(source, fps=source.fps / 2), (96, 64), masks, FlowSource()),
    ]
    mask = next((masks / "ball").iterdir())
    mask.write_bytes(next((footage / "frames").iterdir()).read_bytes())
    keys.append(clip_key(source, (96, 64), masks, FlowSource()))
    assert len(set(keys)) == len(keys)


def test_the_second_time_nothing_is_prepared(footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"masks": footage / "masks", "device": "cpu", "cache": tmp_path / "cache"}
    first = prepare(footage / "frames", quality="draft", **given)
    said: list[Progress] = []
    with monkeypatch.context() as patch:
        patch.setattr("layerloom.prepare.prepare.compute_flow", None)
        # Another quality, of the same size.
        second = prepare(footage / "frames", quality="fine", on_progress=said.append, **given)
    assert_equal(first, second)
    assert first.preparation and second.preparation
    assert (first.preparation.quality, second.preparation.quality) == ("draft", "fine")
    told = [progress.message for progress in said if progress.message]
    assert told[0] == "prepared before, and taken from the cache"
    assert any("images carry no rate" in line for line in told), "what was said then is said again"
    with monkeypatch.context() as patch, pytest.raises(TypeError):
        patch.setattr("layerloom.prepare.prepare.compute_flow", None)
        prepare(footage / "frames", **{**given, "cache": "off"})


def test_a_damaged_clip_is_prepared_anew_with_a_line(footage: Path, tmp_path: Path) -> None:
    store = ArrayStore(tmp_path / "cache", GIB)
    first = prepare(footage / "frames", masks=footage / "masks", device="cpu", cache=store)
    (entry,) = store.entries()
    cut(entry.folder)
    said: list[Progress] = []
    again = prepare(footage / "frames", masks=footage / "masks", device="cpu", cache=store, on_progress=said.append)
    (line,) = (progress.message for progress in said if "damaged" in (progress.message or ""))
    assert line and "made anew: vectors.npy" in line
    np.testing.assert_array_equal(first.masks.coverage, again.masks.coverage)
    assert len(store.entries()) == 1


@pytest.mark.parametrize("limit", [10, GIB])
def test_a_cache_that_cannot_be_is_no_reason_to_fail(limit: int, footage: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "cache" if limit == GIB else tmp_path / "cache"
    said: list[Progress] = []
    clip = prepare(footage / "frames", device="cpu", cache=ArrayStore(place, limit), on_progress=said.append)
    assert len(clip.frames) == 5
    assert any("the prepared clip is not kept" in (progress.message or "") for progress in said)


@pytest.mark.parametrize(("stage", "left"), [("complete_masks", 1), ("estimate_motion", 2), ("distant_flow", 3)])
def test_a_killed_preparation_goes_on_from_the_stage_it_was_in(
    stage: str, left: int, footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("layerloom.prepare.pieces.WORTH_SECONDS", 0.0)
    store = ArrayStore(tmp_path / "cache", GIB)
    given = {"masks": footage / "masks", "device": "cpu", "cache": store}
    before = ["compute_flow", "complete_masks", "estimate_motion", "distant_flow"]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(f"layerloom.prepare.prepare.{stage}", stop)
        prepare(footage / "frames", **given)
    assert len(store.entries()) == left
    with monkeypatch.context() as patch:
        for name in before[: before.index(stage)]:
            patch.setattr(f"layerloom.prepare.prepare.{name}", stop)
        clip = prepare(footage / "frames", **given)
    assert len(store.entries()) == 1, "the clip alone is kept"
    whole = prepare(footage / "frames", **{**given, "cache": "off"})
    np.testing.assert_array_equal(clip.frames, whole.frames)
    assert np.abs(clip.motion - whole.motion).max() < 1e-3

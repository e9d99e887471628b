"""decompose: what it stores, what it lets go of, and what it leaves when it is interrupted."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from footage import write_footage
from safetensors.numpy import save_file

import layerloom.decompose as module
from layerloom.core.errors import LayerloomError
from layerloom.core.progress import Progress
from layerloom.data.project import Project
from layerloom.decompose import check_new_project, decompose
from layerloom.prepare.prepare import prepare
from layerloom.synthetic.clip import SyntheticClip, make_clip
from layerloom.train.checkpoint import checkpoint_folder, is_resumable
from layerloom.train.settings import settings_for

SIZE, FRAMES = (96, 64), 5
FEW = replace(settings_for("draft", "cpu"), steps=3, tiles=8)


@pytest.fixture(scope="module")
def truth() -> SyntheticClip:
    return make_clip(SIZE, FRAMES, seed=2)


@pytest.fixture(scope="module")
def footage(truth: SyntheticClip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_footage(tmp_path_factory.mktemp("footage"), truth)


def test_the_same_seed_learns_the_same(footage: Path, tmp_path: Path) -> None:
    clip = prepare(footage / "frames", masks=footage / "masks", device="cpu")
    settings = replace(settings_for("draft", "cpu", 7), steps=5, tiles=8)
    torch.set_num_threads(1)
    made = [decompose(clip, tmp_path / f"{n}.loom", settings=settings, device="cpu") for n in range(2)]
    first, second = (project.weights() for project in made)
    assert all(np.allclose(first[name], second[name], atol=1e-5) for name in first)
    assert made[0].settings["steps"] == 5 and made[0].provenance["kernels"]
    assert len(made[0].figures["psnr_per_frame"]) == FRAMES


def test_an_interrupt_while_baking_keeps_what_was_learned(
    footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    clip = prepare(footage / "frames", masks=footage / "masks", device="cpu")
    settings = replace(settings_for("draft", "cpu"), steps=3, tiles=8)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "bake", interrupt)
        decompose(clip, tmp_path / "a.loom", settings=settings, device="cpu")
    assert is_resumable(tmp_path / "a.loom") and not (tmp_path / "a.loom").exists()
    decompose(clip, tmp_path / "a.loom", settings=settings, device="cpu", resume=True)
    assert not is_resumable(tmp_path / "a.loom")
    assert Project.open(tmp_path / "a.loom").figures["history"][-1]["step"] == 3


LETS_GO = """
import sys, weakref
from dataclasses import replace
from pathlib import Path
from layerloom.decompose import decompose
from layerloom.prepare.prepare import prepare
from layerloom.train.settings import settings_for

def make_clip():
    clip = prepare(Path(sys.argv[1]) / "frames", masks=Path(sys.argv[1]) / "masks", device="cpu")
    held.extend(map(weakref.ref, (clip.flow.vectors, clip.flow.confidence)))
    return clip

def note(progress):
    seen.setdefault(progress.stage, [array() is not None for array in held])

held, seen = [], {}
settings = replace(settings_for("draft", "cpu"), steps=2, tiles=8)
decompose(make_clip, sys.argv[2], settings=settings, device="cpu", on_progress=note)
assert seen["train"] == [True, True] and seen["bake"] == seen["store"] == [False, False], seen
"""


def test_flow_is_let_go_of_before_baking(footage: Path, tmp_path: Path) -> None:
    """In a process of its own: here, what checks annotations holds on to arguments."""
    words = [sys.executable, "-c", LETS_GO, str(footage), str(tmp_path / "a.loom")]
    run = subprocess.run(words, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_a_project_needs_a_free_place_in_a_folder(tmp_path: Path) -> None:
    check_new_project(tmp_path / "new.loom")
    (tmp_path / "old.loom").mkdir()
    for path, words in ((tmp_path / "old.loom", "exists already"), (tmp_path / "a" / "b.loom", "does not exist")):
        with pytest.raises(LayerloomError, match=words):
            check_new_project(path)


@pytest.fixture(scope="module")
def interrupted(footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a project was to be; what was learned of it lies beside."""
    out = tmp_path_factory.mktemp("interrupted") / "a.loom"

    def stop(progress: Progress) -> None:
        if progress.stage == "bake":
            raise KeyboardInterrupt

    clip = prepare(footage / "frames", masks=footage / "masks", device="cpu")
    with pytest.raises(KeyboardInterrupt):
        decompose(clip, out, settings=FEW, device="cpu", on_progress=stop)
    return out


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other"])
def test_a_damaged_checkpoint_is_one_line(damage: str, interrupted: Path, footage: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.loom"
    shutil.copytree(checkpoint_folder(interrupted), checkpoint_folder(out))
    (file,) = checkpoint_folder(out).iterdir()
    data = bytearray(file.read_bytes())
    if damage == "cut":
        data = data[: len(data) // 2]
    elif damage == "flipped":
        data[-100] ^= 4
    elif damage == "empty":
        data = bytearray()
    else:
        save_file({"a": np.zeros(3)}, file)
        data = file.read_bytes()
    file.write_bytes(data)
    clip = prepare(footage / "frames", masks=footage / "masks", device="cpu")
    with pytest.raises(LayerloomError, match=r"checkpoint\.safetensors: damaged; start anew"):
        decompose(clip, out, settings=FEW, device="cpu", resume=True)
    decompose(clip, out, settings=FEW, device="cpu")
    assert not checkpoint_folder(out).exists()


def test_other_masks_are_not_gone_on_with(interrupted: Path, footage: Path, tmp_path: Path) -> None:
    shutil.copytree(footage / "masks", tmp_path / "masks")
    masks = sorted((tmp_path / "masks" / "ball").iterdir())
    masks[1].write_bytes(masks[0].read_bytes())
    clip = prepare(footage / "frames", masks=tmp_path / "masks", device="cpu")
    with pytest.raises(LayerloomError, match="begun with other footage, masks, flow or settings"):
        decompose(clip, interrupted, settings=FEW, device="cpu", resume=True)


def test_a_checkpoint_that_cannot_be_written_is_said_and_not_fatal(
    footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.loom.partial").write_text("in the way")
    said: list[Progress] = []
    clip = prepare(footage / "frames", masks=footage / "masks", device="cpu")
    decompose(clip, tmp_path / "a.loom", settings=FEW, device="cpu", on_progress=said.append)
    assert any("a checkpoint could not be written" in (progress.message or "") for progress in said)


def test_the_dial_comes_with_the_clip(footage: Path, tmp_path: Path) -> None:
    clip = prepare(footage / "frames", masks=footage / "masks", quality="draft", device="cpu")
    project = decompose(clip, str(tmp_path / "a.loom"), settings=FEW, device="cpu")
    assert project.settings["quality"] == "draft" and project.provenance["masks"] == str(footage / "masks")
    with pytest.raises(LayerloomError, match="quality 'best'"):
        decompose(clip, tmp_path / "b.loom", quality="best", device="cpu")

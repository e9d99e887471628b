"""What the guides say can be typed, pasted and run as it stands."""

import re
import shlex
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from layerloom import media
from layerloom.cli.main import _parse
from layerloom.edits.document import camera_from_json, edits_from_json
from layerloom.edits.shot import Camera, Stabilize
from layerloom.render.stream import RenderedFrame
from layerloom.synthetic.clip import make_clip
from layerloom.train.settings import TrainSettings, settings_for

ROOT = Path(__file__).parents[1]
COMMANDS = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [COMMANDS, README], ids=["commands.md", "README.md"])
def test_every_command_can_be_typed(page: str) -> None:
    commands = re.findall(r"^    layerloom (.+)$", page, re.MULTILINE)
    assert len(commands) >= 3
    for command in commands:
        note = _parse(shlex.split(command.split(" | ")[0], comments=True))
        if "canvas" in note.keywords:
            note.keywords["canvas"].edits()


def test_the_files_of_edits_and_cameras_can_be_read() -> None:
    blocks = re.findall(r'^    (\{"format": (?:.+\n)(?:     .+\n)*)', COMMANDS, re.MULTILINE)
    camera, edits = blocks
    assert len(camera_from_json(camera).keyframes) == 3
    read = edits_from_json(edits, Path())
    assert len(read) > 10
    held = any(isinstance(edit, Camera) and edit.lock is not None for edit in read)
    assert not (held and any(isinstance(edit, Stabilize) for edit in read)), "these two cannot be had at once"


def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def few(quality: str, device: str, seed: int = 0) -> TrainSettings:
        return replace(settings_for(quality, device, seed), steps=4, tiles=16)  # pyright: ignore

    monkeypatch.setattr("layerloom.decompose.settings_for", few)
    monkeypatch.chdir(tmp_path)
    clip = make_clip((96, 64), 5, seed=2)
    (tmp_path / "masks" / "bear").mkdir(parents=True)
    times = [Fraction(number, 24) for number in range(5)]
    with media.open_writer("bear.mp4", (96, 64), times, Fraction(24)) as writer:
        for number, (frame, mask) in enumerate(zip(clip.frames, clip.masks[0], strict=True)):
            writer.write(frame)
            media.write_image(tmp_path / "masks" / "bear" / f"{number:05d}.png", mask)
    (example,) = re.findall(r"^```python\n(.+?)^```", COMMANDS, re.MULTILINE | re.DOTALL)
    before, after = example.split("# Now edit")
    found: dict[str, object] = {}
    exec(before, found)
    shutil.copyfile(tmp_path / "bear-layers" / "bear" / "texture.png", tmp_path / "edited.png")
    exec(f"# {after}", found)
    assert media.probe(tmp_path / "edited.mp4").frames == 10
    frame = found["frame"]
    assert isinstance(frame, RenderedFrame) and frame.image.shape == (64, 96, 3)
    # Half as fast: the film lasts twice as long.
    assert frame.seconds == Fraction(7, 24)

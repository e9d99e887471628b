"""Footage with cuts: found, learned as a set of projects, and joined again."""

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from test_cli import FPS, Outcome, Run, assert_refused, few_steps, run, write_video
from truth_project import make_truth_project

from layerloom import media
from layerloom.core.errors import LayerloomError
from layerloom.core.progress import OnProgress
from layerloom.data.clip import Clip
from layerloom.data.project import Project
from layerloom.data.shot_set import PlannedShot, ShotSet, is_shot_set, write_shots
from layerloom.decompose import decompose_shots
from layerloom.prepare.shots import LEAST_FRAMES, find_shots
from layerloom.synthetic.clip import SyntheticClip, make_clip

SIZE = (64, 48)
LENGTHS = (8, 7, 9)
__all__ = ["few_steps", "run"]  # fixtures


@pytest.fixture(scope="module")
def clips() -> list[SyntheticClip]:
    return [make_clip(SIZE, frames, seed=seed) for seed, frames in enumerate(LENGTHS, 1)]


@pytest.fixture(scope="module")
def footage(clips: list[SyntheticClip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clips one after the other, with sound; the middle one's colours are the opposite."""
    path = tmp_path_factory.mktemp("footage") / "film.mp4"
    write_video(path, np.concatenate([clips[0].frames, 255 - clips[1].frames, clips[2].frames]))
    return path


PLAN = [
    PlannedShot(range(8), Fraction(0)),
    PlannedShot(range(8, 15), Fraction(8, FPS)),
    PlannedShot(range(15, 24), Fraction(15, FPS)),
]


@pytest.fixture(scope="module")
def film(clips: list[SyntheticClip], footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets") / "film.loom"
    folder.mkdir()
    for index, (clip, shot) in enumerate(zip(clips, PLAN, strict=True)):
        made = folder.parent / f"{index}"
        project = make_truth_project(made, clip, source=footage, first_frame=shot.frames.start)
        project.path.rename(folder / f"shot-00{index}")
    write_shots(folder, PLAN)
    return folder


def frames_of(path: Path) -> np.ndarray:
    return np.stack(list(media.read_frames(path)))


def test_shots_begin_at_cuts(footage: Path) -> None:
    assert find_shots(footage) == PLAN
    later = find_shots(footage, frames=(10, None))
    assert [shot.frames for shot in later] == [range(10, 24)], f"5 frames are fewer than {LEAST_FRAMES}"
    assert find_shots(footage, frames=(2, 9)) == [PlannedShot(range(2, 9), Fraction(0))]


def test_a_set_is_what_its_shots_are(film: Path) -> None:
    found = ShotSet.open(film)
    assert is_shot_set(film) and not is_shot_set(film / "shot-000")
    assert found.source_range == range(24) and found.starts == tuple(shot.start for shot in PLAN)
    with pytest.raises(LayerloomError, match=r"several shots, each a project of its own; name one: .*shot-000"):
        Project.open(film)


def test_shots_with_a_gap_are_no_set(film: Path, tmp_path: Path) -> None:
    (tmp_path / "shot-000").symlink_to(film / "shot-000")
    (tmp_path / "shot-001").symlink_to(film / "shot-002")
    write_shots(tmp_path, PLAN[:2])
    with pytest.raises(LayerloomError, match="does not go on from"):
        ShotSet.open(tmp_path)


def test_a_set_is_rendered_as_one_film(film: Path, footage: Path, tmp_path: Path, run: Run) -> None:
    run("render", film, "--out", tmp_path / "out.mkv", "--codec", "ffv1")
    np.testing.assert_array_equal(frames_of(tmp_path / "out.mkv"), frames_of(footage))
    found, source = media.probe(tmp_path / "out.mkv"), media.probe(footage)
    assert [round(float(seconds), 3) for seconds in found.timestamps] == [
        round(float(seconds), 3) for seconds in source.timestamps
    ]
    with av.open(str(tmp_path / "out.mkv")) as container:
        sound = list(container.decode(audio=0))
    assert sum(frame.samples for frame in sound) / sound[0].sample_rate == pytest.approx(24 / FPS, abs=0.1)


def test_frames_of_a_set_are_the_sources(film: Path, footage: Path, tmp_path: Path, run: Run) -> None:
    run("render", film, "--out", tmp_path / "part" / "%03d.png", "--frames", "5:17")
    np.testing.assert_array_equal(frames_of(tmp_path / "part"), frames_of(footage)[5:17])
    assert_refused(run("render", film, "--out", tmp_path / "b.mp4", "--frames", "5:25"), "holds 0:24")


def test_edits_act_in_the_shot_that_is_named(film: Path, footage: Path, tmp_path: Path, run: Run) -> None:
    edit = ("--hide", "object")
    run("render", film, "--out", tmp_path / "a.mkv", "--codec", "ffv1", "--shot", 1, *edit)
    changed = (frames_of(tmp_path / "a.mkv") != frames_of(footage)).any((1, 2, 3))
    assert changed.tolist() == [False] * 8 + [True] * 7 + [False] * 9
    outcome = run("render", film, "--out", tmp_path / "b.mp4", *edit)
    assert_refused(outcome, "edits name the layers of one shot", "--shot")
    assert_refused(run("render", film, "--out", tmp_path / "b.mp4", "--shot", 3, *edit), "shots 0, 1, 2")
    speed = run("render", film, "--out", tmp_path / "b.mp4", "--shot", 1, "--speed", 0.5)
    assert_refused(speed, "another speed cannot be joined")
    single = run("render", film / "shot-001", "--out", tmp_path / "b.mp4", "--shot", 1)
    assert_refused(single, "one project, not several shots")


def test_a_set_is_described_and_exported_shot_by_shot(film: Path, tmp_path: Path, run: Run) -> None:
    facts = json.loads(run("info", film, "--json").out)
    assert facts["frames"] == 24 and facts["shots"]["shot-002"]["first_frame"] == 15
    run("export", film, "--to", tmp_path / "out", "--only", "textures", "--frames", "0:9")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["shot-000", "shot-001"]
    assert (tmp_path / "out" / "shot-001" / "object" / "texture.png").is_file()


def test_a_set_that_was_broken_off_is_taken_up(clips: list[SyntheticClip], footage: Path, tmp_path: Path) -> None:
    """Shots that are finished are not learned again."""
    learned: list[int] = []

    def learn(make: object, place: Path, *, resume: bool, on_progress: OnProgress) -> Project:
        index = int(place.name[-3:])
        if index == 1 and learned == [0]:
            learned.append(-1)
            raise KeyboardInterrupt
        learned.append(index)
        made = tmp_path / str(index)
        project = make_truth_project(made, clips[index], source=footage, first_frame=PLAN[index].frames.start)
        project.path.rename(place)
        return project

    def no_clip(frames: range) -> Clip:
        raise AssertionError(frames)

    out = tmp_path / "film.loom"
    with pytest.raises(KeyboardInterrupt):
        decompose_shots(no_clip, PLAN, out, learn=learn)
    assert not out.exists() and (tmp_path / "film.loom.partial" / "shot-000").is_dir()
    other = [PlannedShot(range(15), Fraction(0)), PLAN[2]]
    with pytest.raises(LayerloomError, match="begun with other frames"):
        decompose_shots(no_clip, other, out, resume=True, learn=learn)
    film = decompose_shots(no_clip, PLAN, out, resume=True, learn=learn)
    assert learned == [0, -1, 1, 2] and len(film.projects) == 3
    assert film.projects[2].source_path == footage and not (tmp_path / "film.loom.partial").exists()


def test_a_cut_makes_a_set(footage: Path, tmp_path: Path, run: Run, few_steps: None) -> None:
    out = tmp_path / "film.loom"
    arguments = ("--frames", "2:15", "--quality", "draft", "--no-cache", "--device", "cpu")
    said: Outcome = run("decompose", footage, "--out", out, *arguments)
    assert "2 shots" in said.out
    assert [project.source_range for project in ShotSet.open(out).projects] == [range(2, 8), range(8, 15)]

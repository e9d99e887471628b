"""The command line: every error in one line with nothing left behind, and the commands a user types from end to end."""

import errno
import json
import signal
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from truth_project import make_truth_project

from layerloom import media
from layerloom.cli import main as cli
from layerloom.data.project import Project
from layerloom.export.export import PARTS
from layerloom.synthetic.clip import SyntheticClip, make_clip
from layerloom.train.settings import TrainSettings, settings_for

SIZE, FRAMES, FPS, RATE = (64, 48), 6, Fraction(12), 48000
STEPS = 12


@dataclass(frozen=True)
class Outcome:
    """What a command left on its streams, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, object]]:
        """Standard output of `--json`: an object a line and nothing else."""
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Outcome]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line in this process."""

    def call(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["layerloom", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        said = capsys.readouterr()
        return Outcome(code, said.out, said.err)

    return call


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Learning that takes a moment."""

    def few(quality: str, device: str, seed: int = 0) -> TrainSettings:
        return replace(settings_for(quality, device, seed), steps=STEPS, tiles=16)  # pyright: ignore

    monkeypatch.setattr("layerloom.decompose.settings_for", few)


@pytest.fixture(scope="module")
def clip() -> SyntheticClip:
    return make_clip(SIZE, FRAMES, seed=1)


@pytest.fixture(scope="module")
def footage(clip: SyntheticClip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with clip.mp4, which has sound, and masks/object/."""
    folder = tmp_path_factory.mktemp("footage")
    write_video(folder / "clip.mp4", clip.frames)
    write_masks(folder / "masks" / "object", clip.masks[0])
    return folder


@pytest.fixture(scope="module")
def project(clip: SyntheticClip, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_truth_project(tmp_path_factory.mktemp("project"), clip)


def write_video(path: Path, frames: np.ndarray) -> None:
    """H.264 with a tone, by PyAV alone."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv444p"
        sound = container.add_stream("aac", rate=RATE)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
        seconds = len(frames) / FPS
        tone = 0.5 * np.sin(np.arange(int(RATE * seconds)) * 0.05).astype(np.float32)
        piece = av.AudioFrame.from_ndarray(np.stack([tone, tone]), "fltp", "stereo")
        piece.sample_rate, piece.pts, piece.time_base = RATE, 0, Fraction(1, RATE)
        container.mux(sound.encode(piece))
        container.mux(sound.encode(None))


def write_images(folder: Path, frames: np.ndarray) -> Path:
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        media.write_image(folder / f"{number:05d}.png", frame)
    return folder


write_masks = write_images


def listing(folder: Path) -> list[str]:
    """Everything below a folder, hidden things too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def assert_refused(outcome: Outcome, *words: object) -> None:
    """Exit 2 and one line on standard error that holds all `words`."""
    assert outcome.code == 2, outcome
    lines = [line for line in outcome.err.splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith("layerloom: "), outcome.err
    for word in words:
        assert str(word) in lines[0], lines[0]


# ------------------------------------------------------------------------------------------- input of decompose


def missing_input(folder: Path, clip: SyntheticClip) -> tuple[list[object], str]:
    return [folder / "absent.mp4"], "no such file"


def empty_folder(folder: Path, clip: SyntheticClip) -> tuple[list[object], str]:
    (folder / "empty").mkdir()
    return [folder / "empty"], "no images"


def file_without_video(folder: Path, clip: SyntheticClip) -> tuple[list[object], str]:
    (folder / "notes.mp4").write_text("no video at all")
    return [folder / "notes.mp4"], "notes.mp4"


def truncated_video(folder: Path, clip: SyntheticClip) -> tuple[list[object], str]:
    write_video(folder / "whole.mp4", np.random.default_rng(0).integers(0, 255, (6, 48, 64, 3), np.uint8))
    whole = (folder / "whole.mp4").read_bytes()
    (folder / "whole.mp4").write_bytes(whole[: len(whole) // 2])
    return [folder / "whole.mp4"], "whole.mp4"


def one_frame(folder: Path, clip: SyntheticClip) -> tuple[list[object], str]:
    return [write_images(folder / "one", clip.frames[:1])], "at least 2"


def frames_of_different_sizes(folder: Path, clip: SyntheticClip) -> tuple[list[object], str]:
    write_images(folder / "frames", clip.frames)
    media.write_image(folder / "frames" / "00003.png", clip.frames[3, :40])
    return [folder / "frames"], "00003.png: 64x40, but 00000.png is 64x48"


def masks_of_different_sizes(folder: Path, clip: SyntheticClip) -> tuple[list[object], str]:
    write_masks(folder / "masks" / "cat", clip.masks[0])
    media.write_image(folder / "masks" / "cat" / "00002.png", clip.masks[0, 2, :40])
    return [write_images(folder / "frames", clip.frames), "--masks", folder / "masks"], "00002.png"


def masks_of_another_shape(folder: Path, clip: SyntheticClip) -> tuple[list[object], str]:
    write_masks(folder / "masks" / "cat", clip.masks[0, :, :20])
    return [write_images(folder / "frames", clip.frames), "--masks", folder / "masks"], "another shape"


def more_masks_than_frames(folder: Path, clip: SyntheticClip) -> tuple[list[object], str]:
    write_masks(folder / "masks", np.repeat(clip.masks[0], 2, 0))
    frames = write_images(folder / "frames", clip.frames)
    return [frames, "--masks", folder / "masks"], "the source's last frame is 5"


def unnumbered_masks_that_do_not_match(folder: Path, clip: SyntheticClip) -> tuple[list[object], str]:
    (folder / "masks").mkdir()
    for name, mask in zip("abc", clip.masks[0], strict=False):
        media.write_image(folder / "masks" / f"{name}.png", mask)
    return [write_images(folder / "frames", clip.frames), "--masks", folder / "masks"], "3 masks for 6 frames"


def empty_masks(folder: Path, clip: SyntheticClip) -> tuple[list[object], str]:
    write_masks(folder / "masks" / "cat", np.zeros_like(clip.masks[0]))
    return [write_images(folder / "frames", clip.frames), "--masks", folder / "masks"], "empty"


def missing_masks(folder: Path, clip: SyntheticClip) -> tuple[list[object], str]:
    return [write_images(folder / "frames", clip.frames), "--masks", folder / "absent"], "no such folder of masks"


def frames_past_the_end(folder: Path, clip: SyntheticClip) -> tuple[list[object], str]:
    return [write_images(folder / "frames", clip.frames), "--frames", "2:9"], "holds frames 0:6"


def frames_without_a_colon(folder: Path, clip: SyntheticClip) -> tuple[list[object], str]:
    return [write_images(folder / "frames", clip.frames), "--frames", "7"], "the form is A:B"


def frames_in_words(folder: Path, clip: SyntheticClip) -> tuple[list[object], str]:
    return [write_images(folder / "frames", clip.frames), "--frames", "two:9"], "'two'"


def learning_at_a_stamp_size(folder: Path, clip: SyntheticClip) -> tuple[list[object], str]:
    return [write_images(folder / "frames", clip.frames), "--long-edge", 10], "64 to 8192"


def flow_files_that_are_absent(folder: Path, clip: SyntheticClip) -> tuple[list[object], str]:
    return [write_images(folder / "frames", clip.frames), "--flow", folder / "flow"], folder / "flow"


def raft_without_weights(folder: Path, clip: SyntheticClip) -> tuple[list[object], str]:
    return [write_images(folder / "frames", clip.frames), "--flow", "raft"], "weights"


def nothing_to_resume(folder: Path, clip: SyntheticClip) -> tuple[list[object], str]:
    return [write_images(folder / "frames", clip.frames), "--resume"], "nothing to resume"


WRONG_INPUTS = [
    missing_input,
    empty_folder,
    file_without_video,
    truncated_video,
    one_frame,
    frames_of_different_sizes,
    masks_of_different_sizes,
    masks_of_another_shape,
    more_masks_than_frames,
    unnumbered_masks_that_do_not_match,
    empty_masks,
    missing_masks,
    frames_past_the_end,
    frames_without_a_colon,
    frames_in_words,
    learning_at_a_stamp_size,
    flow_files_that_are_absent,
    raft_without_weights,
    nothing_to_resume,
]


@pytest.mark.parametrize("case", WRONG_INPUTS)
def test_wrong_input_of_decompose(
    case: Callable[..., tuple[list[object], str]], run: Run, clip: SyntheticClip, tmp_path: Path
) -> None:
    arguments, words = case(tmp_path, clip)
    before = listing(tmp_path)
    assert_refused(run("decompose", *arguments, "--out", tmp_path / "new.loom", "--device", "cpu"), words)
    assert listing(tmp_path) == before


def test_not_enough_memory(run: Run, footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = namedtuple("memory", "available")
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory(2**29))
    outcome = run("decompose", footage / "clip.mp4", "--out", tmp_path / "new.loom")
    assert_refused(outcome, "GiB of memory", "0.5 GiB are free", "--long-edge or --frames")
    assert not listing(tmp_path)


def test_not_enough_disk(run: Run, footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(2**20))
    outcome = run("decompose", footage / "clip.mp4", "--masks", footage / "masks", "--out", tmp_path / "new.loom")
    assert_refused(outcome, "GiB of disk", "0.0 GiB are free")
    assert not listing(tmp_path)


def test_disk_that_fills_up(run: Run, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("layerloom.export.frame_files.integer_mattes", full)
    assert_refused(run("export", project.path, "--to", tmp_path / "parts"), "No space left")
    assert not listing(tmp_path)


# ------------------------------------------------------------------------------------------------------ outputs


def test_an_output_that_exists_is_kept(run: Run, footage: Path, project: Project, tmp_path: Path) -> None:
    (tmp_path / "there.mp4").write_text("precious")
    (tmp_path / "there.loom").mkdir()
    (tmp_path / "there.loom" / "file").write_text("precious")
    assert_refused(run("decompose", footage / "clip.mp4", "--out", tmp_path / "there.loom"), "exists already")
    assert_refused(run("render", project.path, "--out", tmp_path / "there.mp4"), "exists already")
    assert_refused(run("export", project.path, "--to", tmp_path / "there.loom"), "exists already")
    assert_refused(run("demo", "--out", tmp_path / "there.loom"), "exists already")
    assert listing(tmp_path) == ["there.loom", "there.loom/file", "there.mp4"]
    assert (tmp_path / "there.mp4").read_text() == "precious"


def test_outputs_in_places_that_cannot_be(run: Run, footage: Path, project: Project, tmp_path: Path) -> None:
    """A file is no folder, for root either."""
    (tmp_path / "file").write_text("")
    below = tmp_path / "file" / "below"
    assert_refused(run("decompose", footage / "clip.mp4", "--out", below), "folder does not exist")
    assert_refused(run("render", project.path, "--out", f"{below}.mp4"), "folder does not exist")
    assert_refused(run("export", project.path, "--to", below), tmp_path / "file")
    assert_refused(run("evaluate", project.path, "--json", below), "folder does not exist")
    assert_refused(run("demo", "--out", below), tmp_path / "file")
    assert listing(tmp_path) == ["file"]


def test_names_that_are_too_long(run: Run, footage: Path, project: Project, tmp_path: Path) -> None:
    endless = tmp_path / f"{300 * 'x'}.mp4"
    for command in (
        ("decompose", footage / "clip.mp4", "--out", endless),
        ("render", project.path, "--out", endless),
        ("render", project.path, "--out", tmp_path / "a.mp4", "--texture", f"object={endless}"),
        ("export", project.path, "--to", endless),
        ("evaluate", project.path, "--json", endless),
        ("info", endless),
    ):
        assert_refused(run(*command), "xxx.mp4", "File name too long")
    assert not listing(tmp_path)


def test_no_permission_to_write(
    run: Run, footage: Path, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may write everywhere, so what the system answers to others is put in its mouth."""

    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path))

    monkeypatch.setattr("os.access", lambda path, mode: False)
    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    monkeypatch.setattr(Path, "mkdir", refuse)
    assert_refused(run("decompose", footage / "clip.mp4", "--out", tmp_path / "new.loom"), "no permission", tmp_path)
    assert_refused(run("export", project.path, "--to", tmp_path / "parts"), "Permission denied", tmp_path)
    assert_refused(run("evaluate", project.path, "--report", tmp_path / "new.html"), "no permission", tmp_path)
    assert_refused(run("demo", "--out", tmp_path / "demo"), "Permission denied", tmp_path)
    assert not listing(tmp_path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("edited.avi", "unknown kind of output '.avi'"),
        ("edited", "unknown kind"),
        ("frames/%05d.gif", "image sequences are written as"),
        ("%d_%d.png", "one number"),
    ],
)
def test_outputs_of_an_unknown_kind(name: str, words: str, run: Run, project: Project, tmp_path: Path) -> None:
    assert_refused(run("render", project.path, "--out", tmp_path / name), words)
    assert not listing(tmp_path)


def test_an_unknown_codec(run: Run, project: Project, tmp_path: Path) -> None:
    outcome = run("render", project.path, "--out", tmp_path / "a.mp4", "--codec", "av1")
    assert_refused(outcome, "unknown codec 'av1'", "h264", "prores")
    assert not listing(tmp_path)


# ------------------------------------------------------------------------------------------ projects and edits


@pytest.mark.parametrize("command", ["info", "render", "export", "evaluate"])
def test_what_is_no_project(command: str, run: Run, tmp_path: Path) -> None:
    more = {"render": ["--out", tmp_path / "a.mp4"], "export": ["--to", tmp_path / "parts"]}.get(command, [])
    assert_refused(run(command, tmp_path, *more), tmp_path, "not a layerloom project")
    assert not listing(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--hide", "dog"], "no layer 'dog'; its layers are object, background"),
        (["--texture", "dog=a.png"], "no layer 'dog'"),
        (["--overlay", "a.png"], "the form is --overlay LAYER=FILE"),
        (["--overlay", "object=absent.png"], "absent.png"),
        (["--paint", "a.png"], "the form is --paint FRAME:FILE"),
        (["--paint", "first:a.png"], "whole number"),
        (["--paint", "1:absent.png"], "absent.png"),
        (["--background", "#12"], "#rrggbb"),
        (["--background", "absent.png"], "absent.png"),
        (["--edits", "absent.json"], "absent.json: no such file"),
        (["--frames", "3:3"], "frames 3:3"),
        (["--frames", "0:99"], "has frames 0:6"),
        (["--frames", "-1:3"], "'-1'"),
    ],
)
def test_wrong_edits(arguments: list[str], words: str, run: Run, project: Project, tmp_path: Path) -> None:
    assert_refused(run("render", project.path, "--out", tmp_path / "a.mp4", *arguments), words)
    assert not listing(tmp_path)


@pytest.mark.parametrize("option", ["--edits", "--camera"])
@pytest.mark.parametrize("content", [b"{'no json", b'{"format": "other"}', b"\xff\xfe"])
def test_a_broken_file_of_edits_is_named(
    option: str, content: bytes, run: Run, project: Project, tmp_path: Path
) -> None:
    file = tmp_path / "mine.json"
    file.write_bytes(content)
    assert_refused(run("render", project.path, "--out", tmp_path / "a.mp4", option, file), f"{file}: ")


def test_paint_that_does_not_fit(run: Run, project: Project, tmp_path: Path) -> None:
    media.write_image(tmp_path / "paint.png", np.full((SIZE[1], SIZE[0], 4), 255, np.uint8))
    media.write_image(tmp_path / "small.png", np.full((8, 8, 4), 255, np.uint8))
    media.write_image(tmp_path / "opaque.png", np.full((SIZE[1], SIZE[0], 3), 255, np.uint8))
    before = listing(tmp_path)
    for paint, words in (
        ("99:paint.png", ["frame 99", "has frames 0:6"]),
        ("1:small.png", ["8 x 8", "64 x 48"]),
        ("1:opaque.png", ["3 channels"]),
    ):
        frame, name = paint.split(":")
        outcome = run("render", project.path, "--out", tmp_path / "a.mp4", "--paint", f"{frame}:{tmp_path / name}")
        assert_refused(outcome, *words)
    assert listing(tmp_path) == before


def test_export_of_an_unknown_part(run: Run, project: Project, tmp_path: Path) -> None:
    assert_refused(run("export", project.path, "--to", tmp_path / "parts", "--only", "mattes,uv"), "'uv'", *PARTS)
    assert_refused(run("export", project.path, "--to", tmp_path / "parts", "--frames", "4:9"), "has frames 0:6")
    assert not listing(tmp_path)


def test_evaluate_with_masks_that_do_not_fit(run: Run, project: Project, clip: SyntheticClip, tmp_path: Path) -> None:
    write_masks(tmp_path / "masks" / "dog", clip.masks[0])  # of another name, matched by its overlap
    assert run("evaluate", project.path, "--masks", tmp_path / "masks").code == 0
    assert_refused(run("evaluate", project.path, "--masks", tmp_path / "absent"), "no such folder of masks")
    assert_refused(run("evaluate", project.path, "--tracks", tmp_path / "absent.npz"), "absent.npz")
    assert_refused(
        run("evaluate", project.path, "--lpips-weights", tmp_path / "absent.pth"), "absent.pth", "No such file"
    )


# -------------------------------------------------------------------------------------------------------- usage


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["decompose", "evaluate"]),
        (["edit"], ["edit", "decompose"]),
        (["decompose", "a.mp4"], ["--out"]),
        (["decompose", "--out", "a.loom"], ["FOOTAGE"]),
        (["decompose", "a.mp4", "--out", "a.loom", "--quality", "best"], ["'best'", "draft", "standard", "fine"]),
        (["decompose", "a.mp4", "--out", "a.loom", "--seed", "x"], ["--seed", "'x'"]),
        (["render", "a.loom", "--out", "a.mp4", "--colour", "red"], ["--colour"]),
        (["render", "a.loom", "--out", "a.mp4", "--speed", "fast"], ["'fast' does not fit --speed FACTOR"]),
        (["render", "a.loom", "--out", "a.mp4", "--mode", "quick"], ["'quick'", "detail", "synthesis"]),
    ],
)
def test_wrong_usage_is_one_line(arguments: list[str], words: list[str], run: Run) -> None:
    outcome = run(*arguments)
    assert_refused(outcome, *words, "--help")
    assert not set("│─╭") & set(outcome.err)


FLAGS = {
    "demo": "--out --device --seed --json",
    "decompose": "--out --masks --quality --long-edge --frames --flow --flow-weights --device --seed --resume"
    " --cache --cache-gib --no-cache --json",
    "info": "--json",
    "render": "--out --texture --overlay --paint --place --text --edits --hide --background --move --duplicate"
    " --unshadow --freeze --reverse --speed --scale --stabilize --camera --extend --crop --unseen --mode --from"
    " --device --frames --codec --json",
    "export": "--to --only --frames --json",
    "evaluate": "--masks --tracks --lpips-weights --json --report",
    "cache": "--cache --empty --clean --json",
}


@pytest.mark.parametrize("command", FLAGS)
def test_help_names_every_flag(command: str, run: Run) -> None:
    outcome = run(command, "--help")
    assert outcome.code == 0
    for flag in FLAGS[command].split():
        assert flag in outcome.out
    assert "{None}" not in outcome.out
    if command == "export":
        assert all(part in outcome.out for part in PARTS)


def test_help_lists_the_commands(run: Run) -> None:
    outcome = run("--help")
    assert outcome.code == 0
    assert all(command in outcome.out for command in FLAGS)


def test_a_fault_of_ours_is_told_from_one_of_the_user(
    run: Run, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> None:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(Project, "open", fail)
    outcome = run("info", project.path)
    assert outcome.code == 1
    assert "Traceback" in outcome.err
    assert (
        outcome.err.splitlines()[-1] == "layerloom: unexpected ZeroDivisionError: a fault; this is a fault of layerloom"
    )


@pytest.mark.parametrize("command", ["info", "evaluate"])
def test_commands_that_learn_nothing_start_without_pytorch(command: str, project: Project, tmp_path: Path) -> None:
    program = (
        "import sys; from layerloom.cli import main as cli; sys.argv[0] = 'layerloom'\n"
        "cli.main()\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, command, project.path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


# --------------------------------------------------------------------------------------------------- end to end


def test_from_a_video_file_to_an_edited_one(run: Run, few_steps: None, footage: Path, tmp_path: Path) -> None:
    loom = tmp_path / "clip.loom"
    outcome = run(
        *("decompose", footage / "clip.mp4", "--out", loom, "--masks", footage / "masks"),
        *("--quality", "draft", "--device", "cpu", "--seed", 3, "--json"),
    )
    assert outcome.code == 0, outcome.err
    assert outcome.err == ""
    stages = [entry.get("stage") for entry in outcome.objects if entry["event"] == "progress"]
    assert list(dict.fromkeys(stages)) == ["start", "cuts", "read", "flow", "masks", "motion", "train", "bake", "store"]
    assert outcome.objects[-1]["event"] == "result" and outcome.objects[-1]["project"] == str(loom)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.loom"]

    (facts,) = run("info", loom, "--json").objects
    assert facts["size"] == list(SIZE) and facts["frames"] == FRAMES and facts["fps"] == "12/1"
    assert [layer["name"] for layer in facts["layers"]] == ["object", "background"]
    assert facts["settings"]["seed"] == 3 and facts["settings"]["steps"] == STEPS
    assert "object" in run("info", loom).out

    assert run("export", loom, "--to", tmp_path / "parts", "--frames", "1:4", "--json").objects[-1]["frames"] == 3
    assert len(list((tmp_path / "parts" / "object" / "st").iterdir())) == 3
    assert run("export", loom, "--to", tmp_path / "some", "--only", "textures,mattes").code == 0
    assert sorted(path.name for path in (tmp_path / "some" / "object").iterdir()) == ["matte", "texture.png"]
    assert run("export", loom, "--to", tmp_path / "some").code == 2

    check_every_edit(run, loom, footage / "clip.mp4", tmp_path)
    check_evaluation(run, loom, tmp_path)


def check_every_edit(run: Run, loom: Path, source: Path, folder: Path) -> None:
    """Each kind of edit through the command line; away from it the frames are the source's own."""
    original = np.stack(list(media.read_frames(source)))
    texture = media.read_image(folder / "parts" / "object" / "texture.png")
    changed = texture.copy()
    rows, columns = (slice(side // 2 - 3, side // 2 + 3) for side in texture.shape[:2])
    changed[rows, columns, :3] = 65535
    media.write_image(folder / "texture.png", changed)
    overlay = np.zeros((*texture.shape[:2], 4), np.uint8)
    overlay[rows, columns] = (0, 255, 0, 255)
    media.write_image(folder / "overlay.png", overlay)
    paint = np.zeros((SIZE[1], SIZE[0], 4), np.uint8)
    paint[4:10, 6:14] = (255, 0, 0, 255)
    media.write_image(folder / "paint.png", paint)
    edits = {"format": "layerloom-edits", "version": 1, "edits": [{"kind": "hide", "layer": "object"}]}
    (folder / "edits.json").write_text(json.dumps(edits))
    local = {
        "texture": ["--texture", f"object={folder / 'texture.png'}"],
        "overlay": ["--overlay", f"object={folder / 'overlay.png'}"],
        "paint": ["--paint", f"2:{folder / 'paint.png'}"],
        "hide": ["--hide", "object"],
        "edits": ["--edits", folder / "edits.json"],
    }
    frames: dict[str, np.ndarray] = {}
    for name, arguments in local.items():
        pattern = folder / name / "%05d.png"
        outcome = run("render", loom, "--out", pattern, *arguments)
        assert outcome.code == 0, outcome.err
        frames[name] = np.stack(list(media.read_frames(folder / name)))
        touched = (frames[name] != original).any(-1)
        assert 0 < touched.mean() < 0.75, name
    assert (frames["paint"][2, 5:9, 7:13] == (255, 0, 0)).all()
    assert np.array_equal(frames["edits"], frames["hide"])

    for name, background in (("blue", "#0000ff"), ("still", folder / "paint.png")):
        outcome = run("render", loom, "--out", folder / f"{name}.mkv", "--codec", "ffv1", "--background", background)
        assert outcome.code == 0, outcome.err
    blue = np.stack(list(media.read_frames(folder / "blue.mkv")))
    assert (np.abs(blue[:, 0, 0].astype(int) - (0, 0, 255)) < 30).all()

    outcome = run("render", loom, "--out", folder / "same.mp4", "--frames", "2:5", "--mode", "synthesis", "--json")
    assert outcome.code == 0 and outcome.objects[-1]["frames"] == 3
    found = media.probe(folder / "same.mp4")
    assert (found.size, found.frames, found.fps, found.has_audio) == (SIZE, 3, FPS, True)
    assert run("render", loom, "--out", folder / "all" / "%03d.png").code == 0
    assert np.array_equal(np.stack(list(media.read_frames(folder / "all"))), original)


def test_shots_have_their_own_size_number_and_times(
    run: Run, clip: SyntheticClip, footage: Path, tmp_path: Path
) -> None:
    project = make_truth_project(tmp_path, clip, source=footage / "clip.mp4")
    wide = ("render", project.path, "--camera", "lock:0", "--extend", "2", "--frames", "0:3")
    outcome = run(*wide, "--out", tmp_path / "wide.mp4")
    assert outcome.code == 0, outcome.err
    found = media.probe(tmp_path / "wide.mp4")
    assert (found.size, found.frames, found.fps, found.has_audio) == ((2 * SIZE[0], 2 * SIZE[1]), 3, FPS, True)
    assert "of what is shown, in 3 of 3 frames" in outcome.err and "guessed from around it" in outcome.err

    outcome = run("render", project.path, "--out", tmp_path / "slow.mp4", "--speed", "0.5", "--frames", "1:4", "--json")
    assert outcome.code == 0 and outcome.objects[-1]["frames"] == 6
    assert {"event": "note", "text": "the sound is left out, as the speed changes"} in outcome.objects
    found = media.probe(tmp_path / "slow.mp4")
    assert (found.size, found.frames, found.fps, found.has_audio) == (SIZE, 6, FPS, False)

    assert_refused(run(*wide, "--out", tmp_path / "clear.mp4", "--unseen", "transparent"), "h264 holds no alpha")
    assert_refused(run(*wide, "--out", tmp_path / "narrow.mp4", "--move", "cat:1,2"), "no layer 'cat'")
    assert_refused(run(*wide, "--out", tmp_path / "narrow.mp4", "--move", "object"), "LAYER:RIGHT,DOWN")
    assert not (tmp_path / "clear.mp4").exists()


def check_evaluation(run: Run, loom: Path, folder: Path) -> None:
    outcome = run("evaluate", loom, "--json", folder / "figures.json", "--report", folder / "report.html")
    assert outcome.code == 0, outcome.err
    figures = json.loads((folder / "figures.json").read_text())
    assert figures["mattes"]["iou"]["object"] > 0.5, "the masks given to decompose are compared"
    assert figures["reconstruction"]["psnr"] > 10
    assert "matte IoU, object" in outcome.out and "report.html" in outcome.out
    assert "<html" in (folder / "report.html").read_text()[:100]


def test_evaluate_without_masks_says_nothing_of_them(run: Run, project: Project) -> None:
    outcome = run("evaluate", project.path)
    assert outcome.code == 0
    assert "reconstruction PSNR" in outcome.out and "IoU" not in outcome.out


INTERRUPTIBLE = """
import dataclasses, sys, time
import layerloom.decompose as module
from layerloom.cli import main as cli
from layerloom.train import settings
steps = int(sys.argv.pop(1))
module.settings_for = lambda *given: dataclasses.replace(settings.settings_for(*given), steps=steps, tiles=16)
cli.main()
"""


def test_an_interrupted_run_is_taken_up_again(footage: Path, tmp_path: Path) -> None:
    steps = 300
    command = [sys.executable, "-c", INTERRUPTIBLE, str(steps), "decompose", str(footage / "clip.mp4")]
    command += ["--masks", str(footage / "masks"), "--out", str(tmp_path / "clip.loom"), "--device", "cpu", "--json"]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert first.stdout is not None and first.stderr is not None
    for line in first.stdout:
        report = json.loads(line)
        if report.get("stage") == "train" and report["done"] > 0:
            first.send_signal(signal.SIGINT)
            break
    first.stdout.read()
    assert first.wait(timeout=60) == 130
    assert "--resume" in first.stderr.read().splitlines()[-1]
    assert listing(tmp_path) == [
        "clip.loom.partial",
        "clip.loom.partial/checkpoint.safetensors",
    ]

    other = [argument if argument != str(steps) else "40" for argument in command]
    refused = subprocess.run([*other, "--resume"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2 and "other footage, masks, flow or settings" in refused.stderr

    second = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stderr
    assert listing(tmp_path)[0] == "clip.loom" and not (tmp_path / "clip.loom.partial").exists()
    history = Project.open(tmp_path / "clip.loom").figures["history"]
    taken = [entry["step"] for entry in history]
    assert taken == sorted(taken) and taken[-1] == steps


def test_interrupted_before_learning_nothing_is_left(
    run: Run, footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("layerloom.prepare.prepare.compute_flow", interrupt)
    outcome = run("decompose", footage / "clip.mp4", "--out", tmp_path / "clip.loom", "--json")
    assert outcome.code == 130
    assert outcome.err.splitlines()[-1] == "layerloom: interrupted; nothing was written"
    assert not listing(tmp_path)


def test_the_second_time_begins_from_what_is_kept(
    run: Run, few_steps: None, footage: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("decompose", footage / "clip.mp4", "--masks", footage / "masks", "--device", "cpu", "--json")
    assert run(*words, "--out", tmp_path / "a.loom").code == 0
    (kept,) = run("cache", "--json").objects
    assert [clip["footage"] for clip in kept["clips"]] == [str(footage / "clip.mp4")]  # pyright: ignore
    monkeypatch.setattr("layerloom.prepare.prepare.compute_flow", None)
    outcome = run(*words, "--out", tmp_path / "b.loom", "--seed", 1)
    assert outcome.code == 0, outcome.err
    assert any("prepared before" in str(entry.get("message")) for entry in outcome.objects)
    assert run(*words, "--out", tmp_path / "c.loom", "--no-cache").code == 1
    assert "clip.mp4" in run("cache").out
    (emptied,) = run("cache", "--empty", "--json").objects
    assert emptied["clips"] == [] and emptied["freed_gib"] > 0  # pyright: ignore
    assert not list((cache / "clips").iterdir())


@pytest.mark.footage
def test_real_footage(run: Run, few_steps: None, clips_directory: Path, tmp_path: Path) -> None:
    swan = clips_directory / "blackswan"
    loom = tmp_path / "swan.loom"
    outcome = run(
        *("decompose", swan, "--out", loom, "--masks", swan / "masks", "--quality", "draft"),
        *("--long-edge", 96, "--frames", "0:6", "--device", "cpu"),
    )
    assert outcome.code == 0, outcome.err
    for said in (
        "layers from front to back: fg, background",
        f"layerloom export {loom} --to",
        "--texture fg=edited.png",
    ):
        assert said in outcome.out
    found = media.probe(swan)
    assert run("render", loom, "--out", tmp_path / "edited.mp4", "--hide", "fg", "--frames", "1:4").code == 0
    edited = media.probe(tmp_path / "edited.mp4")
    assert edited.frames == 3
    assert edited.size == found.size, "edits are rendered at the footage's own size"
    assert run("render", loom, "--out", tmp_path / "same" / "%05d.png", "--frames", "0:2").code == 0
    same, source = media.read_frames(tmp_path / "same"), media.read_frames(swan, 0, 2)
    assert all(np.array_equal(first, second) for first, second in zip(same, source, strict=True))
    outcome = run("export", loom, "--to", tmp_path / "parts", "--only", "textures,mattes", "--frames", "0:2")
    assert outcome.code == 0
    mattes = [media.read_image(path).astype(int) for path in (tmp_path / "parts").glob("*/matte/00000.png")]
    assert (sum(mattes) == 65535).all()

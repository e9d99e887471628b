"""Many clips: what a list may say, and a cluster of two machines of which one ends in the middle."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from footage import write_footage

from layerloom.batch.ray_runner import Batch, Resources, check_ray, cluster
from layerloom.batch.summary import ClipState, Places, Summary, summarise, write_summary
from layerloom.batch.work_list import read_work
from layerloom.core.errors import LayerloomError
from layerloom.core.progress import Progress
from layerloom.data.project import Project
from layerloom.synthetic.clip import make_clip
from layerloom.train.settings import settings_for

CLIPS = 3


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of clips, and one that is not there."""
    folder = tmp_path_factory.mktemp("clips")
    lines = ["# what is to be learned"]
    for number in range(CLIPS):
        (folder / f"c{number}").mkdir()
        write_footage(folder / f"c{number}", make_clip((64, 48), 4, seed=number))
        lines.append(f"c{number}/frames c{number}/masks clip{number}")
    lines.append('{"footage": "nothing.mp4"}')
    (folder / "list.txt").write_text("\n".join(lines))
    return folder / "list.txt"


def test_a_list_and_a_folder_name_clips(work: Path, tmp_path: Path) -> None:
    jobs = read_work(work)
    assert [job.name for job in jobs] == ["clip0", "clip1", "clip2", "nothing"]
    assert jobs[0].masks == work.parent / "c0" / "masks" and jobs[3].masks is None
    (tmp_path / "masks" / "frames").mkdir(parents=True)
    (job,) = read_work(work.parent / "c0", tmp_path / "masks")
    assert (job.name, job.masks) == ("frames", tmp_path / "masks" / "frames")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no clips"),
        ("a b c d", "line 1: 4 words"),
        ('\n{"footage": 3}', "line 2: footage"),
        ("a.mp4\nb/a.mp4", "several clips are called 'a'"),
        ("a.mp4 m ../a", "line 1: name"),
    ],
)
def test_a_wrong_list_is_told_by_its_line(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "list").write_text(text)
    with pytest.raises(LayerloomError, match=said):
        read_work(tmp_path / "list")


def test_without_ray_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layerloom.batch.ray_runner.find_spec", lambda name: None)
    with pytest.raises(LayerloomError, match=r"pip install 'layerloom\[batch\]'"):
        check_ray()


def test_the_page_escapes_what_others_wrote(tmp_path: Path) -> None:
    places = Places(tmp_path / "out")
    places.make()
    state = ClipState(name="a", footage="a.mp4", stage="failed", error="<script>")
    write_summary(places, summarise([state], 1.0))
    page = (places.folder / "summary.html").read_text()
    assert "&lt;script&gt;" in page and "<script>" not in page


@pytest.fixture(scope="module")
def machines() -> Iterator[Any]:
    """Two nodes of one core each; the first one is the batch's own."""
    # As the batch's own cluster: nobody else can reach it.
    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    patch.setenv("RAY_usage_stats_enabled", "0")
    pytest.importorskip("ray", reason="Ray is not installed (the extra layerloom[batch])")
    from ray.cluster_utils import Cluster

    usual: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=usual)
    made.add_node(**usual)
    yield made
    made.shutdown()
    patch.undo()


def test_a_machine_that_ends_in_the_middle_loses_no_clip(machines: Any, work: Path, tmp_path: Path) -> None:
    from layerloom.batch.stages import Options

    settings = replace(settings_for("draft", "cpu"), steps=60, tiles=16)
    resources = Resources(machines.address)
    options = Options("draft", settings=settings)
    killed: list[str] = []

    def kill_one(states: Sequence[ClipState], signs: dict[str, Progress]) -> None:
        """Once both machines work, one of them at learning."""
        if not killed and len(signs) == 2 and any(sign.stage in ("train", "bake") for sign in signs.values()):
            killed.extend(signs)
            machines.remove_node(machines.list_all_nodes()[1], allow_graceful=False)

    with cluster(resources):
        summary = Batch(read_work(work), tmp_path / "out", options, resources).run(kill_one)
        assert killed and (summary.totals.done, summary.totals.failed) == (CLIPS, 1)
        by_name = {clip.name: clip for clip in summary.clips}
        assert any(by_name[name].attempts > 2 for name in killed), "nothing was taken up"
        assert "no such file" in str(by_name["nothing"].error)
        for number in range(CLIPS):
            project = Project.open(tmp_path / "out" / f"clip{number}.loom")
            assert by_name[f"clip{number}"].psnr_db == pytest.approx(project.figures["psnr"])
            assert all(by_name[f"clip{number}"].seconds[stage] > 0 for stage in ("prepare", "learn", "bake"))
        page = (tmp_path / "out" / "summary.html").read_text()
        assert page.count("<img") == CLIPS and (tmp_path / "out" / "posters" / "clip0.jpg").is_file()
        again = Batch(read_work(work), tmp_path / "out", options, resources).run(lambda states, signs: None)
        _check_skipped(again, tmp_path / "out")
        other = replace(options, seed=1)
        refused = Batch(read_work(work)[:1], tmp_path / "out", other, resources).run(lambda states, signs: None)
        assert "with other options" in str(refused.clips[0].error)


def _check_skipped(summary: Summary, out: Path) -> None:
    assert (summary.totals.skipped, summary.totals.done) == (CLIPS, CLIPS)
    stored = json.loads((out / "summary.json").read_text())
    assert stored["format"] == "layerloom-batch" and stored["totals"]["skipped"] == CLIPS

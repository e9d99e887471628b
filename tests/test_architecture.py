"""What edits does without what learns. (Which package may import which is held by the contracts in pyproject.toml.)"""

import subprocess
import sys
from pathlib import Path

from truth_project import make_truth_project

from layerloom.synthetic.clip import make_clip

LEARNING_HALF = ("prepare", "ops", "model", "train", "bake", "decompose", "neural_render")

EDIT_WITHOUT_LEARNING = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(tuple("layerloom." + part for part in PARTS)):
            raise ImportError(f"{name} is absent")

sys.meta_path.insert(0, Absent())
from pathlib import Path
from layerloom.edits.document import Hide
from layerloom.export.export import export
from layerloom.data.project import Project
from layerloom.render.stream import render_images

project = Project.open(Path(sys.argv[1]))
assert len(list(render_images(project, [Hide("object")]))) == 2
export(project, Path(sys.argv[2]))
import layerloom.evaluate.evaluate
loaded = [name for name in sys.modules if name.startswith(tuple("layerloom." + part for part in PARTS))]
assert not loaded, loaded
"""


def test_a_project_opens_renders_and_exports_with_the_learning_half_absent(tmp_path: Path) -> None:
    project = make_truth_project(tmp_path, make_clip(size=(64, 48), frames=2))
    program = f"PARTS = {LEARNING_HALF!r}\n{EDIT_WITHOUT_LEARNING}"
    run = subprocess.run(
        [sys.executable, "-c", program, project.path, tmp_path / "out"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "out" / "background" / "st" / "00001.exr").is_file()

"""The package reads from top to bottom, and what edits does without what learns."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from truth_project import make_truth_project

from layerloom.synthetic import make_clip

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "layerloom"

ORDER_ON_THE_PAGE = """
errors conventions clip parallel compiling
media.images media.colour media.container media.reading media.sound media.writing media
synthetic progress gaps
kernels.reference kernels.cpu kernels.hashgrid kernels.mlp kernels.tiles kernels.mapping kernels.objective
kernels.consistency kernels.adam kernels.splat kernels.neighbourhood kernels.dispatch kernels
prepare.refine prepare.raft prepare.flow prepare.links prepare.masks prepare.outlines prepare.complete prepare.motion
prepare.evidence prepare.plate prepare.softness prepare.looks prepare.discover prepare.distant prepare
model.encoding model.canvas model.layers model.storage model
train.config train.sampling train.losses train.schedule train.optimiser train.fused train.trainer
train.warming train
layer_files project registration bake pipeline
canvas_edits shot_edits edits staging cameras timing coverage shadows shots cast_shadows
mattes trackers documents blending films placing patches
rendering.scene rendering.definition rendering.packing rendering.addresses rendering.sampling rendering.tiles
rendering.cpu rendering.kernel rendering.cuda rendering.choice rendering.detail rendering render neural_render
scripts layer_videos export
tracks measures halos lpips evaluate truth report
demo console waking canvas_options shot_options cli
"""
READING_ORDER = ORDER_ON_THE_PAGE.split()
"""A module imports only modules that come before it."""

LEARNING_HALF = ("prepare", "kernels", "model", "train", "registration", "bake", "pipeline", "neural_render")
EDITING_HALF = (
    *("compiling", "gaps", "layer_files", "project"),
    *(
        "canvas_edits",
        "shot_edits",
        "edits",
        "staging",
        "cameras",
        "timing",
        "coverage",
        "shadows",
        "shots",
        "cast_shadows",
    ),
    *("mattes", "documents", "blending", "films", "placing", "patches", "rendering", "render"),
    *("trackers", "scripts", "layer_videos", "export"),
)
EDITING_HALF += ("tracks", "measures", "halos", "lpips", "evaluate", "report")

EDIT_WITHOUT_LEARNING = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(tuple("layerloom." + part for part in PARTS)):
            raise ImportError(f"{name} is absent")

sys.meta_path.insert(0, Absent())
from pathlib import Path
from layerloom.edits import HideEdit
from layerloom.export import export
from layerloom.project import Project
from layerloom.render import render

project = Project.open(Path(sys.argv[1]))
assert len(list(render(project, [HideEdit("object")]))) == 2
export(project, Path(sys.argv[2]))
import layerloom.evaluate
loaded = [name for name in sys.modules if name.startswith(tuple("layerloom." + part for part in PARTS))]
assert not loaded, loaded
"""


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"}


def imported_modules(path: Path) -> set[str]:
    """Modules of the package that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}: relative import"
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            known = {name for name in submodules if name.removeprefix("layerloom.") in MODULES}
            found |= known if len(known) == len(submodules) else known | {node.module}
    return {name.removeprefix("layerloom.") for name in found if name.startswith("layerloom.")}


def test_every_module_has_its_place() -> None:
    assert set(MODULES) == set(READING_ORDER)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_module_imports_only_what_comes_before_it(name: str) -> None:
    earlier = READING_ORDER[: READING_ORDER.index(name)]
    assert imported_modules(MODULES[name]) <= set(earlier)


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith(EDITING_HALF)])
def test_the_editing_half_never_reaches_the_learning_half(name: str) -> None:
    reached: set[str] = set()
    waiting = {name}
    while waiting:
        module = waiting.pop()
        reached.add(module)
        waiting |= imported_modules(MODULES[module]) - reached
    assert not [module for module in reached if module.split(".")[0] in LEARNING_HALF]


def test_a_project_opens_renders_and_exports_with_the_learning_half_absent(tmp_path: Path) -> None:
    project = make_truth_project(tmp_path, make_clip(size=(64, 48), frames=2))
    program = f"PARTS = {LEARNING_HALF!r}\n{EDIT_WITHOUT_LEARNING}"
    run = subprocess.run(
        [sys.executable, "-c", program, project.path, tmp_path / "out"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "out" / "background" / "st" / "00001.exr").is_file()

"""The ten public names: lazy, in every order of imports, typed, and called as the packages that they live in."""

import ast
import inspect
import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import layerloom as ll

NAMES = {
    *("prepare", "decompose", "Project", "edits", "render", "write_video"),
    *("export", "evaluate", "Progress", "LayerloomError"),
}
VERBS = sorted(NAMES - {"Project", "edits", "Progress", "LayerloomError"})


def run(program: str) -> str:
    """In a process of its own, as imports are remembered."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_are_ten_names() -> None:
    assert set(ll.__all__) == NAMES and len(NAMES) == 10
    assert set(ll.__all__) <= set(dir(ll))
    with pytest.raises(AttributeError, match="no attribute 'smoke'"):
        _ = ll.smoke  # pyright: ignore


def test_importing_layerloom_loads_nothing() -> None:
    heavy = "numpy", "torch", "cv2", "av", "numba"
    assert run(f"import sys, layerloom; print([name for name in {heavy} if name in sys.modules])") == "[]\n"


def test_what_draws_on_a_cpu_does_without_pytorch() -> None:
    run(
        "import sys, layerloom as ll\n"
        "assert all(map(callable, (ll.render, ll.export, ll.evaluate, ll.Project.open, ll.edits.Speed)))\n"
        "assert 'torch' not in sys.modules"
    )


def test_pytorch_may_be_imported_before_or_after() -> None:
    seen = "import os; print(os.environ.get('OMP_WAIT_POLICY'))"
    assert run(f"import layerloom, torch; {seen}") == "PASSIVE\n"
    run("import torch, layerloom as ll; assert callable(ll.prepare) and ll.decompose.Trainer")


IMPORTS = (
    "import layerloom.render.stream",
    "from layerloom.render.stream import render as function",
    "from layerloom import render",
    "import layerloom.render.stream as module",
)


@pytest.mark.parametrize(
    "order", itertools.permutations(IMPORTS), ids=lambda order: "".join(str(IMPORTS.index(i)) for i in order)
)
def test_verbs_and_their_packages_are_one_in_every_order(order: tuple[str, ...]) -> None:
    run(
        "\n".join(order) + "\n"
        "import sys\n"
        "assert layerloom.render is render is sys.modules['layerloom.render'] and callable(render)\n"
        "assert layerloom.render.stream is module and module.render is function\n"
    )


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_shows_what_it_takes(verb: str) -> None:
    signature = inspect.signature(getattr(ll, verb))
    assert len(signature.parameters) >= 2
    assert getattr(ll, verb).__doc__


def test_a_verb_calls_what_its_module_holds_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what is replaced in the module is replaced here."""
    monkeypatch.setattr("layerloom.render.stream.render", lambda project: f"drawn {project}")
    assert ll.render("it") == "drawn it"  # pyright: ignore
    monkeypatch.setattr("layerloom.decompose.decompose", lambda clip: f"learned {clip}")
    assert ll.decompose("it") == "learned it"  # pyright: ignore


def test_errors_are_raised_as_the_public_one(tmp_path: Path) -> None:
    with pytest.raises(ll.LayerloomError, match="no such file"):
        ll.prepare(str(tmp_path / "absent.mp4"))
    with pytest.raises(ll.LayerloomError, match="not a layerloom project"):
        ll.Project.open(str(tmp_path))


def test_errors_of_the_library_name_no_options() -> None:
    """What is --frames on the command line is `frames` here; `LayerloomError.parameters` ties the two together."""
    source = Path(ll.__file__).parent
    files = [path for path in sorted(source.rglob("*.py")) if "cli" not in path.relative_to(source).parts]
    named = [
        f"{file}: {text}" for file in files for text in words_of_errors(file) if re.search(r"(^|[\s('])--\w", text)
    ]
    assert len(files) > 100 and not named


def words_of_errors(file: Path) -> Iterator[str]:
    """All text in a module that goes into an error, or into a message."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("Error", "Progress", "_progress")):
            yield from (
                part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)
            )

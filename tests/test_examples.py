"""The notebook is what its script makes, and runs."""

import sys
from pathlib import Path

import nbformat
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
sys.path.insert(0, str(EXAMPLES))

from make_notebook import NOTEBOOK, make_notebook  # noqa: E402


def test_the_notebook_is_what_the_script_makes() -> None:
    stored, made = nbformat.read(NOTEBOOK, as_version=4), make_notebook(run=False)
    assert [(cell.cell_type, cell.source) for cell in stored.cells] == [
        (cell.cell_type, cell.source) for cell in made.cells
    ]
    assert NOTEBOOK.stat().st_size < 2**20
    pictures = [output for cell in stored.cells for output in cell.get("outputs", []) if "image/jpeg" in output.data]
    assert len(pictures) == 4


@pytest.mark.timeout(900)
def test_the_notebook_runs() -> None:
    made = make_notebook()
    *_, last = made.cells
    assert float(last.outputs[0].data["text/plain"]) > 20

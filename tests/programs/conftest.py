"""An export that programs open, and a line for each program that did."""

from pathlib import Path

import pytest
from programs import FRAMES, SIZE, used
from truth_project import make_truth_project

from layerloom.data.project import Project
from layerloom.export.export import PARTS, export
from layerloom.synthetic.clip import make_clip


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which programs were used."""
    for name, version in sorted(used.items()):
        terminalreporter.write_line(f"program: {name}: {version}")


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Two objects that cross before a moving camera, as perfectly learned as can be stored."""
    return make_truth_project(tmp_path_factory.mktemp("truth"), make_clip(size=SIZE, frames=4, seed=1, objects=2))


@pytest.fixture(scope="session")
def exported(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All parts, in a folder whose name is awkward."""
    folder = tmp_path_factory.mktemp("export") / "it's [half] $done"
    export(project, folder, PARTS, frames=FRAMES)
    return folder

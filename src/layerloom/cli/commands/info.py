"""`layerloom info`: what a project holds."""

from typing import Any

from layerloom.cli.arguments import ProjectFolder, Switch
from layerloom.cli.console import Console
from layerloom.data.project import Project


def info(project: ProjectFolder, json: Switch = False) -> None:
    """Say what a project holds.

    Args:
        project: A .loom folder.
        json: One JSON object instead of a table.
    """
    opened = Project.open(project)
    source = opened.source
    facts: dict[str, Any] = {
        "project": str(project),
        "source": str(source.path),
        "size": list(source.size),
        "frames": source.frames,
        "first_frame": source.first_frame,
        "fps": f"{source.fps.numerator}/{source.fps.denominator}",
        "training_size": list(opened.training_size),
        "layers": [{"name": layer.name, "kind": layer.kind, "canvas": list(layer.canvas)} for layer in opened.layers],
        "settings": opened.settings,
        "provenance": opened.provenance,
        "psnr": opened.figures.get("psnr"),
    }
    with Console(json) as console:
        console.facts(facts)

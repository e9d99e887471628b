"""`layerloom info`: what a project holds."""

from typing import Any

from layerloom.cli.arguments import ProjectFolder, Switch
from layerloom.cli.console import Console
from layerloom.data.project import Project
from layerloom.data.shot_set import ShotSet, is_shot_set


def info(project: ProjectFolder, json: Switch = False) -> None:
    """Say what a project holds.

    Args:
        project: A .loom folder; a set of shots is one, too.
        json: One JSON object instead of a table.
    """
    if is_shot_set(project):
        with Console(json) as console:
            console.facts(_set_facts(ShotSet.open(project)))
        return
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


def _set_facts(film: ShotSet) -> dict[str, Any]:
    source = film.projects[0].source
    shots = {
        project.path.name: {
            "first_frame": project.source.first_frame,
            "frames": project.source.frames,
            "layers": [layer.name for layer in project.layers],
            "psnr": project.figures.get("psnr"),
        }
        for project in film.projects
    }
    return {
        "set": str(film.path),
        "source": str(source.path),
        "size": list(source.size),
        "frames": len(film.source_range),
        "first_frame": film.source_range.start,
        "fps": f"{source.fps.numerator}/{source.fps.denominator}",
        "shots": shots,
    }

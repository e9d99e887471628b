"""`layerloom evaluate`: a project measured against its source."""

import os
from json import dumps
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from layerloom import media
from layerloom.cli.arguments import OptionalFile, OptionalFolder, ProjectFolder
from layerloom.cli.console import Console
from layerloom.core.atomic import atomic_file
from layerloom.core.errors import LayerloomError
from layerloom.data.clip import Masks
from layerloom.data.project import Project


def evaluate(
    project: ProjectFolder,
    masks: OptionalFolder = None,
    tracks: OptionalFile = None,
    lpips_weights: OptionalFile = None,
    json: OptionalFile = None,
    report: Annotated[Path | None, arg(metavar="FILE.html", help_behavior_hint="")] = None,
) -> None:
    """Measure a project against its source.

    Args:
        project: What decompose wrote.
        masks: True masks of the objects, laid out as for decompose. Default: those that were given to decompose.
        tracks: True tracks of the source, in TAP-Vid's format (.npz).
        lpips_weights: Measure LPIPS, too, with this state dict of AlexNet or VGG16, as torchvision publishes them.
        json: Write all figures to this file; docs/evaluation.md defines them.
        report: Write a page with pictures, plots and all figures to this file.
    """
    from layerloom.evaluate.evaluate import evaluate as measure
    from layerloom.evaluate.report import headlines, write_report

    opened = Project.open(project)
    for file in (json, report):
        _check_writable(file)
    with Console(as_json=False) as console:
        figures = measure(opened, _true_masks(opened, masks), tracks, lpips_weights, console.counter("measure"))
        if json is not None:
            _write_json(json, figures.to_json())
        if report is not None:
            console.share("report")(0.0)
            write_report(report, opened, figures)
            console.share("report")(1.0)
        console.facts({caption: value for value, caption in headlines(figures)})
        for file in (json, report):
            if file is not None:
                console.result(f"{file}: written", {})


def _true_masks(project: Project, given: Path | None) -> Masks | None:
    """Masks at source size: the given ones, else those that the project was learned with if they are still there."""
    from layerloom.prepare.masks.files import load_masks

    known = project.provenance.get("masks")
    folder = given or (Path(known) if isinstance(known, str) and Path(known).is_dir() else None)
    if folder is None:
        return None
    info = media.probe(project.source_path, project.source.options)
    return load_masks(folder, project.source_range, project.source.size, info.frames, info.names)


def _check_writable(file: Path | None) -> None:
    """LayerloomError early if a file cannot be written; an older one is replaced."""
    if file is None:
        return
    if file.is_dir():
        raise LayerloomError(f"{file}: is a folder; name a file")
    if not file.absolute().parent.is_dir():
        raise LayerloomError(f"{file}: its folder does not exist")
    if not os.access(file.absolute().parent, os.W_OK):
        raise LayerloomError(f"{file}: no permission to write there")


def _write_json(file: Path, values: dict[str, Any]) -> None:
    with atomic_file(file) as temporary:
        temporary.write_text(dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

"""`layerloom demo`: all steps on a made clip; `cli.demo` does the work."""

from pathlib import Path

from layerloom.cli.arguments import Device, Folder, Number, Switch
from layerloom.cli.console import Console


def demo(
    out: Folder = Path("layerloom-demo"),
    device: Device = "auto",
    seed: Number = 0,
    json: Switch = False,
) -> None:
    """Make a clip with known truth, learn its layers, edit, render, export and measure. Needs no input.

    Args:
        out: The folder to fill.
        device: Where to learn.
        seed: Of the clip and of everything random.
        json: One JSON object a line instead of progress bars and the table.
    """
    from layerloom.cli.demo import CONTENTS, MEANINGS, run_demo

    with Console(json) as console:
        result = run_demo(out, device, seed, console.report)
        files = {name: str(path) for name, path in result.files.items()}
        if json:
            console.result("", {**result.figures, "files": files})
        else:
            console.facts(result.figures, MEANINGS)
            console.facts(files, CONTENTS)

"""Writes clip.ipynb: from a clip to an edited film, with pictures.

    python examples/make_notebook.py

Cells are kept here, as text that can be read and compared; the notebook is them, run, with what they show.
"""

import itertools
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

NOTEBOOK = Path(__file__).with_name("clip.ipynb")

CELLS = (
    # Prose and code take turns.
    """# From a clip to an edited film

A video becomes a few layers. Each has one still image, its texture: paint on it, and every frame is painted.
This notebook needs no footage; it makes a short clip. It takes about a minute on a laptop's CPU.""",
    """from pathlib import Path

import cv2
import numpy as np
from IPython.display import Image

import layerloom as ll
from layerloom import edits as e
from layerloom import media
from layerloom.synthetic.clip import make_clip


def show(*pictures):
    \"\"\"Pictures side by side, RGB.\"\"\"
    height = max(len(picture) for picture in pictures)
    padded = [np.pad(p[..., :3], ((0, height - len(p)), (0, 4), (0, 0)), constant_values=255) for p in pictures]
    return Image(cv2.imencode(".jpg", np.hstack(padded)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes())""",
    """## A clip

An object in front of a background, the camera pans, the light changes. With footage of your own all of this cell is
`footage = "bear.mp4"`; masks can be left out, too: then what moves is found.""",
    """made = make_clip((256, 144), 24, seed=3)
for folder, pictures in (("frames", made.frames), ("masks/ball", made.masks[0])):
    Path(folder).mkdir(parents=True)
    for number, picture in enumerate(pictures):
        media.write_image(Path(folder) / f"{number:05d}.png", picture)
show(*made.frames[[0, 11, 23]])""",
    """## Layers

`prepare` finds how everything moves, `decompose` learns the layers. `quality` is the one dial.""",
    """clip = ll.prepare("frames", masks="masks", quality="draft", device="cpu")
project = ll.decompose(clip, "ball.loom", device="cpu")
[layer.name for layer in project.layers]""",
    """Their textures, each as large as its layer is seen in all frames together:""",
    """ll.export(project, "layers", parts=["textures"])
textures = {layer.name: media.read_image(f"layers/{layer.name}/texture.png") for layer in project.layers}
show(*((texture / 257).astype(np.uint8) for texture in textures.values()))""",
    """## Edit a still image

Any painting program will do. Here a band is painted over the ball's texture, in 16 bit as it was exported.""",
    """painted = textures["ball"].copy()
middle = len(painted) // 2
painted[middle - 8 : middle + 8, :, :3] = np.array([250, 240, 70], np.uint16) * 257
media.write_image("painted.png", painted)
show((painted / 257).astype(np.uint8))""",
    """## The film

Edits are plain values. `render` gives frames, each with its time; `write_video` writes them, with the source's sound if
there is any.""",
    """work = [
    e.Texture("ball", "painted.png"),
    e.Text("background", "HELLO", e.At(frame=11, x=60, y=30, height=24), colour="#ffffff"),
]
frames = [frame.image for frame in ll.render(project, work, device="cpu")]
ll.write_video(project, work, "edited.mp4", device="cpu")
show(*(frames[number] for number in (0, 11, 23)))""",
    """The band goes with the ball and takes its light; the word stays where it is in the scene while the camera pans.

## How good are the layers?

Pixels that no edit touches are the source's own. This is how well the layers alone explain the clip:""",
    """figures = ll.evaluate(project)
figures.reconstruction.psnr_db""",
)


def make_notebook(run: bool = True) -> nbformat.NotebookNode:
    """The notebook, with what its cells show if they are run (in a folder that goes away)."""
    kinds = itertools.cycle((new_markdown_cell, new_code_cell))
    cells = [make(text, id=f"cell-{number}") for number, (make, text) in enumerate(zip(kinds, CELLS, strict=False))]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = new_notebook(cells=cells, metadata={"kernelspec": kernel})
    if run:
        with tempfile.TemporaryDirectory() as folder:
            NotebookClient(notebook, timeout=600, resources={"metadata": {"path": folder}}).execute()
        for cell in notebook.cells:
            cell.metadata.clear()  # times of this run
    return notebook


if __name__ == "__main__":
    nbformat.write(make_notebook(), NOTEBOOK)
    print(f"{NOTEBOOK}: {NOTEBOOK.stat().st_size / 1024:.0f} KiB")

"""Makes docs/gallery.md and its pictures: every command is run as it stands there, on the demo's clip.

    python docs/gallery.py --work DIR     DIR gets the demo and all that the commands read and write; a demo stays

A section is a list of items, an item is a title, what is to be seen, commands, and a picture of what they made.
"""

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import OpenEXR
from PIL import Image
from psd_tools import PSDImage

from layerloom import media
from layerloom.cli.demo import run_demo
from layerloom.data.project import Project
from layerloom.render.stream import render_images

PAGE = Path(__file__).with_suffix(".md")
PICTURES = PAGE.with_suffix("")
SHOWN = (2, 9, 16, 23)
"""Frames of the clip that are shown."""
MOST_BYTES = 150_000
CAPTION_ROWS = 20
CAMERA = {
    "format": "layerloom-camera",
    "version": 1,
    "keyframes": [{"frame": 0}, {"frame": 12, "x": 40, "zoom": 1.4}, {"frame": 23, "y": 20, "rotation": 12}],
}

Pixels = np.ndarray


@dataclass(frozen=True)
class Item:
    """picture: made in the folder where the commands ran; with a figure for the words, where these say {figure}."""

    name: str
    title: str
    words: str
    commands: Sequence[str]
    picture: Callable[[Path], Pixels | tuple[Pixels, str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the demo and all files")
    parser.add_argument("--only", help="name of the one item to make anew; the page is left as it is")
    arguments = parser.parse_args()
    work: Path = arguments.work.resolve()
    prepare(work)
    PICTURES.mkdir(exist_ok=True)
    lines = [INTRODUCTION]
    for title, items in SECTIONS.items():
        lines.append(f"## {title}\n")
        for item in items:
            if arguments.only in (None, item.name):
                lines += make(item, work)
    if arguments.only is None:
        PAGE.write_text("\n".join(lines), encoding="utf-8")


def prepare(work: Path) -> None:
    """The demo, and what an artist would bring: pictures and a film."""
    if not (work / "clip.loom").exists():
        run_demo(work, "cpu")
    disc = np.zeros((120, 120, 4), np.uint8)
    cv2.circle(disc, (60, 60), 58, (30, 60, 150, 255), -1, cv2.LINE_AA)
    cv2.putText(disc, "LL", (22, 82), cv2.FONT_HERSHEY_DUPLEX, 2.2, (250, 240, 70, 255), 6, cv2.LINE_AA)
    media.write_image(work / "badge.png", disc)
    project = Project.open(work / "clip.loom")
    for layer in project.layers:
        width, height = layer.canvas
        stripes = np.zeros((height, width, 4), np.uint8)
        stripes[:, np.arange(width) % 40 < 20] = (235, 150, 60, 220)
        media.write_image(work / f"stripes_{layer.name}.png", stripes)
    texture = media.to_float(media.read_image(work / "texture_object.png"))[..., :3]
    half = np.clip(cv2.resize(texture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), 0, 1)
    Image.fromarray(media.quantise(half, 8)).save(work / "half.webp", lossless=True)
    media.write_image(work / "half.exr", half)
    (work / "path.json").write_text(json.dumps(CAMERA))
    times = [Fraction(number, 12) for number in range(24)]
    with media.open_writer(
        work / "film.mp4", (160, 90), times, Fraction(12), media.OutputOptions(overwrite=True)
    ) as film:
        for number in range(24):
            film.write(film_frame(number))


def film_frame(number: int) -> Pixels:
    """A ball that jumps along, and the frame's number."""
    picture = np.full((90, 160, 3), (24, 26, 70), np.uint8)
    cv2.rectangle(picture, (0, 0), (159, 89), (240, 240, 240), 6)
    height = abs(np.sin(number / 24 * 4 * np.pi))
    cv2.circle(picture, (round(20 + 5 * number), round(72 - 45 * height)), 11, (255, 190, 40), -1, cv2.LINE_AA)
    cv2.putText(picture, str(number), (118, 28), cv2.FONT_HERSHEY_DUPLEX, 0.7, (240, 240, 240), 1, cv2.LINE_AA)
    return picture


def make(item: Item, work: Path) -> list[str]:
    """Run an item's commands, write its picture, and give its lines of the page."""
    for command in item.commands:
        program, *words = shlex.split(command)
        assert program == "layerloom"
        for output in ("--out", "--to"):
            if output in words:
                remove(work / words[words.index(output) + 1])
        entry = "from layerloom.cli.main import main; main()"
        subprocess.run([sys.executable, "-c", entry, *words], cwd=work, check=True, stderr=subprocess.DEVNULL)
    made = item.picture(work)
    pixels, figure = made if isinstance(made, tuple) else (made, "")
    file = PICTURES / f"{item.name}.jpg"
    for quality in range(90, 20, -5):
        Image.fromarray(pixels).save(file, quality=quality, optimize=True)
        if file.stat().st_size < MOST_BYTES:
            break
    listed = [f"    {command}" for command in item.commands]
    return [
        f"### {item.title}\n",
        *listed,
        "",
        item.words.replace("{figure}", figure) + "\n",
        f"![{item.title}](gallery/{item.name}.jpg)\n",
    ]


def remove(path: Path) -> None:
    """What an earlier run left, so that the command stands as a user types it."""
    for old in [path, *path.rglob("*")][::-1] if path.is_dir() else [path]:
        if old.is_dir():
            old.rmdir()
        else:
            old.unlink(missing_ok=True)


# ---------------------------------------------------------------------------------------------------- pictures


def frames_of(path: Path) -> list[Pixels]:
    return [np.ascontiguousarray(frame) for frame in media.read_frames(path)]


def row(pictures: Sequence[Pixels], caption: str = "") -> Pixels:
    """Pictures of one height side by side, under a caption."""
    strip = np.concatenate(list(pictures), 1)
    if not caption:
        return strip
    bar = np.full((CAPTION_ROWS, strip.shape[1], 3), 24, np.uint8)
    cv2.putText(bar, caption, (6, 14), cv2.FONT_HERSHEY_DUPLEX, 0.42, (225, 225, 225), 1, cv2.LINE_AA)
    return np.concatenate([bar, strip])


def stack(rows: Sequence[Pixels]) -> Pixels:
    """Rows below one another, padded to one width."""
    width = max(part.shape[1] for part in rows)
    return np.concatenate([np.pad(part, ((0, 0), (0, width - part.shape[1]), (0, 0))) for part in rows])


def video(*names: str) -> Callable[[Path], Pixels]:
    """Frames of videos, a row each."""

    def picture(work: Path) -> Pixels:
        rows: list[Pixels] = []
        for name in names:
            frames = frames_of(work / name)
            rows.append(row([frames[number] for number in SHOWN], name if len(names) > 1 else ""))
        return stack(rows)

    return picture


def steadied(work: Path) -> Pixels:
    """Frames of both videos, the second one over squares, at the clip's size."""
    steady = frames_of(work / "steady.mp4")
    clear = [cv2.resize(part, (320, 180), interpolation=cv2.INTER_AREA) for part in over_squares(work / "clear.mov")]
    return stack([row([steady[number] for number in SHOWN], "steady.mp4"), row(clear, "clear.mov")])


def close_up(*names: str, at_the_top: bool = False) -> Callable[[Path], Pixels]:
    """Around the object's middle, or the top of its outline, three times as large."""

    def picture(work: Path) -> Pixels:
        project = Project.open(work / "clip.loom")
        rows: list[Pixels] = []
        for name in names:
            frames = frames_of(work / name)
            parts: list[Pixels] = []
            for number in SHOWN:
                shown = np.nonzero(project.own_alpha(0, number) > 0.5)
                middle = (shown[0].min() if at_the_top else shown[0].mean()), shown[1].mean()
                top, left = (
                    int(np.clip(place - 40, 0, limit - 80)) for place, limit in zip(middle, (180, 320), strict=True)
                )
                part = frames[number][top : top + 80, left : left + 80]
                parts.append(cv2.resize(part, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC))
            rows.append(row(parts, name))
        return stack(rows)

    return picture


def blends(work: Path) -> Pixels:
    names = ("normal", "multiply", "screen", "add")
    return row([row([frames_of(work / f"{name}.mp4")[16]], name) for name in names])


def painted_psd(work: Path) -> Pixels:
    """What an artist does between the two commands: a layer of strokes over the others."""
    document = PSDImage.open(work / "documents" / "object" / "texture.psd")
    stroke = np.zeros((*document.size[::-1], 4), np.uint8)
    points = np.array([[40, 110], [70, 60], [100, 105], [135, 55]])
    cv2.polylines(stroke, [points], False, (90, 255, 230, 255), 8, cv2.LINE_AA)
    document.create_pixel_layer(Image.fromarray(stroke), name="strokes")
    document.save(work / "painted.psd")
    entry = "from layerloom.cli.main import main; main()"
    words = ["render", "clip.loom", "--out", "painted.mp4", "--texture", "object=painted.psd"]
    remove(work / "painted.mp4")
    subprocess.run([sys.executable, "-c", entry, *words], cwd=work, check=True, stderr=subprocess.DEVNULL)
    return video("painted.mp4")(work)


def exr(path: Path, names: str) -> Pixels:
    with OpenEXR.File(str(path), separate_channels=True) as file:
        return np.stack([file.channels()[name].pixels for name in names], -1).astype(np.float32)


def as_colour(picture: Pixels) -> Pixels:
    if picture.ndim == 2 or picture.shape[2] == 1:
        picture = np.repeat(picture.reshape(*picture.shape[:2], 1), 3, 2)
    elif picture.shape[2] == 2:
        picture = np.dstack([picture, np.zeros_like(picture[..., 0])])
    return media.quantise(picture.astype(np.float32), 8)


def composited(work: Path) -> tuple[Pixels, str]:
    """The shot rebuilt by OpenCV from the exported files alone, beside what they hold."""
    project, number = Project.open(work / "clip.loom"), 16
    total = np.zeros((180, 320, 3), np.float32)
    rows: list[Pixels] = []
    for layer in project.layers:
        folder, (width, height) = work / "parts" / layer.name, layer.canvas
        st = exr(folder / "st" / f"{number:05d}.exr", "RG")
        light = exr(folder / "lighting" / f"{number:05d}.exr", "RGB")
        matte = media.to_float(media.read_image(folder / "matte" / f"{number:05d}.png"))
        texture = media.to_float(media.read_image(folder / "texture.png"))[..., :3]
        x, y = st[..., 0] * width - 0.5, (1 - st[..., 1]) * height - 0.5
        total += matte * light * cv2.remap(texture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        shown = [as_colour(part) for part in (st, matte, light / 2)]
        rows.append(row(shown, f"{layer.name}: st, matte, lighting (grey is 1)"))
    (rendered,) = render_images(project, [], range(number, number + 1), "synthesis")
    error = np.square(total - media.to_float(rendered)).mean()
    rows.append(row([as_colour(total), rendered], "composited by OpenCV; layerloom render --mode synthesis"))
    return stack(rows), f"{-10 * np.log10(error):.1f} dB"


def tracked(work: Path) -> Pixels:
    """Points of the object's tracks where they are visible."""
    frames = frames_of(work / "clip.mkv")
    for line in (work / "tracks" / "object" / "tracks" / "points.csv").read_text().splitlines()[1:]:
        _, frame, x, y, visible = line.split(",")
        if visible == "1":
            place = round(16 * (float(x) - 0.5)), round(16 * (float(y) - 0.5))
            cv2.circle(frames[int(frame)], place, 3 * 16, (255, 255, 255), -1, cv2.LINE_AA, shift=4)
            cv2.circle(frames[int(frame)], place, 3 * 16, (255, 0, 90), 2, cv2.LINE_AA, shift=4)
    return row([frames[number] for number in SHOWN])


def inverse(work: Path) -> Pixels:
    """Frames unrolled onto the object's canvas by the inverse maps."""
    frames = frames_of(work / "clip.mkv")
    parts: list[Pixels] = []
    for number in SHOWN:
        st = exr(work / "tracks" / "object" / "st_inverse" / f"{number:05d}.exr", "RG")
        x, y = st[..., 0] * 320 - 0.5, (1 - st[..., 1]) * 180 - 0.5
        parts.append(cv2.remap(frames[number], x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT))
    return row(parts)


def cut_out(work: Path) -> Pixels:
    """The object's video over squares."""
    return row(over_squares(work / "videos" / "object" / "layer.mov"))


def over_squares(path: Path) -> list[Pixels]:
    """Frames of a video with alpha over squares."""
    parts: list[Pixels] = []
    for number, picture in enumerate(media.read_frames(path, alpha=True)):
        rgba = media.to_float(picture)
        if number in SHOWN:
            rows, columns = (np.arange(side) // 12 for side in picture.shape[:2])
            below = ((90 + 50 * (np.add.outer(rows, columns) % 2)) / 255).astype(np.float32)[..., None]
            parts.append(as_colour(below + rgba[..., 3:] * (rgba[..., :3] - below)))
    return parts


def layers_of_exr(path: Path) -> dict[str, Pixels]:
    """An EXR's layers; what has none is the beauty."""
    planes: dict[str, dict[str, Pixels]] = {}
    with OpenEXR.File(str(path), separate_channels=True) as file:
        for name, channel in file.channels().items():
            layer, _, component = name.rpartition(".")
            planes.setdefault(layer or "beauty", {})[component] = channel.pixels
    ordered = {layer: sorted(found, key="RGBA".index) for layer, found in planes.items()}
    return {layer: np.stack([planes[layer][name] for name in names], -1) for layer, names in ordered.items()}


def parts_of_exr(work: Path) -> Pixels:
    parts = layers_of_exr(work / "frames" / "exr" / "00016.exr")
    # Lighting is shown halved: grey is 1.
    halved = {name: pixels / 2 if "lighting" in name else pixels for name, pixels in parts.items()}
    shown = [row([as_colour(pixels[..., :3].astype(np.float32))], name) for name, pixels in halved.items()]
    return stack([row(shown[start : start + 3]) for start in range(0, len(shown), 3)])


INTRODUCTION = """# Gallery

Commands and what they make, on the demo's clip (`layerloom demo --out .`): a bending object before a moving camera, in
moving light. `python docs/gallery.py --work DIR` runs every command on this page and makes its pictures anew.
`badge.png` is a disc with letters, `stripes_*.png` are stripes on a layer's canvas, `film.mp4` is a ball that jumps, at
12 frames a second.
"""

RENDER = "layerloom render clip.loom --out"
SECTIONS: dict[str, list[Item]] = {
    "Layers' looks": [
        Item(
            "texture",
            "An edited texture",
            "The exported texture, edited in any image editor, acts in every frame where it differs from the export.",
            [f"{RENDER} texture.mp4 --texture object=texture_object.png --texture background=texture_background.png"],
            video("texture.mp4"),
        ),
        Item(
            "foreign",
            "A texture of another size, saved by another program",
            "Half as large, as 8-bit WebP without alpha, and as float EXR. PNG, TIFF, EXR, PSD, OpenRaster and WebP are"
            " read.",
            [
                f"{RENDER} webp.mp4 --texture object=half.webp",
                f"{RENDER} float.mp4 --texture object=half.exr",
            ],
            video("webp.mp4", "float.mp4"),
        ),
        Item(
            "psd",
            "A texture painted on in Photoshop, Krita or GIMP",
            "The document has a layer to paint on; its visible layers come back: `--texture object=painted.psd`.",
            ["layerloom export clip.loom --to documents --only psd"],
            painted_psd,
        ),
        Item(
            "paint",
            "Painting on a frame",
            "Painted on frame 12 alone, on both layers; every other frame follows.",
            [f"{RENDER} paint.mp4 --paint 12:paint.png"],
            video("paint.mp4"),
        ),
        Item(
            "blends",
            "Blend modes",
            "Stripes on the background's canvas. Multiplied, screened and added, the footage keeps its detail.",
            [
                f"{RENDER} {blend}.mp4 --overlay 'background=stripes_background.png; blend {blend}'"
                for blend in ("normal", "multiply", "screen", "add")
            ],
            blends,
        ),
        Item(
            "text",
            "Words glued to an object",
            "Put on a pixel of frame 12. They move, bend and are lit with the object.",
            [f"{RENDER} text.mp4 --text 'object=WEAVE; at 12:161,100; height 34; rotate -8; colour #f4f4ff'"],
            video("text.mp4"),
        ),
        Item(
            "rigid",
            "Bent with the surface, or flat",
            "The same badge twice: bent as the object bends, and pinned flat to its spot.",
            [
                f"{RENDER} bent.mp4 --place 'object=badge.png; at 12:161,100; height 56'",
                f"{RENDER} rigid.mp4 --place 'object=badge.png; at 12:161,100; height 56; rigid'",
            ],
            close_up("bent.mp4", "rigid.mp4"),
        ),
        Item(
            "film",
            "Another video on the background",
            "Pinned by four corners in frame 0; it plays at its own speed, and the object passes before it.",
            [f"{RENDER} film_on_wall.mp4 --place 'background=film.mp4; corners 0:150,40 290,25 280,135 155,125'"],
            video("film_on_wall.mp4"),
        ),
        Item(
            "animated",
            "An animated texture",
            "The same video over the whole canvas of the object, screened.",
            [f"{RENDER} animated.mp4 --place 'object=film.mp4; at 86,83; height 166; blend screen'"],
            video("animated.mp4"),
        ),
        Item(
            "hide",
            "A removed object, and another background",
            "What lies behind the object is known from other frames.",
            [f"{RENDER} plate.mp4 --hide object", f"{RENDER} studio.mp4 --background '#3a6ea5'"],
            video("plate.mp4", "studio.mp4"),
        ),
        Item(
            "screens",
            "Outlines before green and magenta",
            "Colours that show every rim of an old background; the clip itself is above. `layerloom evaluate` measures"
            " such rims (`halo_px`), and its report shows them for any footage.",
            [
                f"{RENDER} green.mkv --codec ffv1 --background '#00ff00'",
                f"{RENDER} magenta.mkv --codec ffv1 --background '#ff00ff'",
            ],
            close_up("clip.mkv", "green.mkv", "magenta.mkv", at_the_top=True),
        ),
    ],
    "Cameras and time": [
        Item(
            "camera",
            "A new camera",
            "Held as in frame 12, then moved and zoomed in the course of the shot; beyond the source's frames the"
            " background's texture goes on.",
            [f"{RENDER} camera.mp4 --camera lock:12 --camera pan:-30,0 --camera zoom:1.3"],
            video("camera.mp4"),
        ),
        Item(
            "camera_file",
            "A camera path from a file",
            f"Beside the camera's own motion it moves, zooms and turns through keyframes: `path.json` holds"
            f" `{json.dumps(CAMERA)}`.",
            [f"{RENDER} path.mp4 --camera path.json"],
            video("path.mp4"),
        ),
        Item(
            "steady",
            "A steadied camera, cropped",
            "The camera's path smoothed and the frame zoomed in until nothing shows that nobody saw; below it is held"
            " still, transparent where no frame saw the background.",
            [
                f"{RENDER} steady.mp4 --stabilize background:0.6 --crop",
                f"{RENDER} clear.mov --codec prores4444 --stabilize background --extend 1.3 --unseen transparent",
            ],
            steadied,
        ),
        Item(
            "stabilize",
            "A camera held still, and a wider frame",
            "The source above; the background held as in its middle frame, the border filled from other frames; the"
            " same in a wider frame, magenta where no frame saw it.",
            [
                f"{RENDER} still.mp4 --stabilize background",
                f"{RENDER} wide.mp4 --stabilize background --extend 30,16,30,16 --unseen '#ff00ff'",
            ],
            video("clip.mkv", "still.mp4", "wide.mp4"),
        ),
        Item(
            "slow",
            "Slow motion",
            "Frames 10 and 11 of the source, first and last, and three made in between.",
            [f"{RENDER} slow.mp4 --speed 0.25 --frames 10:12"],
            lambda work: row(frames_of(work / "slow.mp4")[:5]),
        ),
        Item(
            "freeze",
            "A frozen object, and one that runs backwards",
            "The object of frame 12 stays at its place in the scene while the camera goes on; below it runs backwards.",
            [
                f"{RENDER} frozen.mp4 --freeze object@12 --unshadow object",
                f"{RENDER} backwards.mp4 --reverse object --unshadow object",
            ],
            video("frozen.mp4", "backwards.mp4"),
        ),
        Item(
            "move",
            "Objects moved and duplicated",
            "Moved up and to the right, smaller and turned, without the shadow it left; and a second one behind it.",
            [
                f"{RENDER} moved.mp4 --move object:60,-30,0.7,20 --unshadow object",
                f"{RENDER} two.mp4 --duplicate object:70,-20,0.8",
            ],
            video("moved.mp4", "two.mp4"),
        ),
        Item(
            "unshadow",
            "A removed object with its shadow",
            "Above the object alone is hidden, below its shadow is gone, too.",
            [f"{RENDER} bare.mp4 --hide object", f"{RENDER} clear.mp4 --hide object --unshadow object"],
            video("bare.mp4", "clear.mp4"),
        ),
    ],
    "Hand-over to other programs": [
        Item(
            "composite",
            "ST maps, mattes and lighting for compositing programs",
            "`parts/layerloom.nk` opens in Nuke, `blender --python parts/blender_compositor.py` in Blender, and the"
            " shot is there. Here OpenCV rebuilt it from the same files, as Σ matte · lighting · texture(st): its PSNR"
            " against what `render` makes, rounded to 8 bit, is {figure}.",
            ["layerloom export clip.loom --to parts --only nuke,blender"],
            composited,
        ),
        Item(
            "tracks",
            "Point tracks and corner pins",
            "A grid of 5 × 5 texels in every frame where it is visible, as CSV, and for Nuke and After Effects.",
            ["layerloom export clip.loom --to tracks --only tracks,st_inverse"],
            tracked,
        ),
        Item(
            "inverse",
            "Inverse ST maps",
            "Frames unrolled onto the object's canvas with the maps of the export above: there it stands still.",
            [],
            inverse,
        ),
        Item(
            "video",
            "Layers as videos with alpha",
            "ProRes 4444 for compositing programs (here over squares), VP9 for browsers; alpha is straight.",
            ["layerloom export clip.loom --to videos --only prores,vp9"],
            cut_out,
        ),
        Item(
            "exr",
            "A frame in layers",
            "All of a frame in the layers of one OpenEXR file. The layers' RGBA add up to the beauty.",
            ["layerloom export clip.loom --to frames --only exr --frames 0:17"],
            parts_of_exr,
        ),
    ],
}

if __name__ == "__main__":
    main()

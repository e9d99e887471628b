"""compose: a project's edits become one checked, frozen plan, which `render` draws.

Here alone edits are told apart by their kind. Each part of the plan is kept under the edits that it depends on (edits
are frozen values, and the files that they name count with size and time of change), so that `Composition.with_edits`
works out only what has changed: with one picture moved, no other file is read again, and the patches of all other
layers are the very same objects.
"""

import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as with_fields
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from layerloom.compose.adjust import Adjustment, adjust_layers, make_adjustment
from layerloom.compose.backdrop import Backdrop
from layerloom.compose.camera import CameraPaths
from layerloom.compose.canvas_patches import (
    Content,
    overlay_part,
    paint_parts,
    place_part,
    read_content,
    read_paint,
    text_part,
)
from layerloom.compose.canvas_plan import CanvasPass, CanvasPlan, CanvasStep, stack_layer
from layerloom.compose.cast_shadows import Relit, relight
from layerloom.compose.disocclusion import UnseenMarker, unseen_shares
from layerloom.compose.edited_texture import texture_patch
from layerloom.compose.patch import MovingPatch, Patch
from layerloom.compose.shot_list import ShotList, list_shots
from layerloom.compose.shot_plan import Retiming, ShadowPlan, ShotPlan
from layerloom.core.errors import LayerloomError
from layerloom.core.parallel import in_threads
from layerloom.data.project import Project
from layerloom.edits.adjust import Adjust
from layerloom.edits.canvas import CanvasEdit, Overlay, Paint, Place, Text, Texture
from layerloom.edits.document import Background, Edit, Hide
from layerloom.edits.shot import (
    Camera,
    Crop,
    Duplicate,
    Extend,
    Freeze,
    LeaveShadow,
    Move,
    Reverse,
    Scale,
    ShotEdit,
    Speed,
    Stabilize,
    Unseen,
    Unshadow,
)

Kind = TypeVar("Kind")
Part = TypeVar("Part")


@dataclass(frozen=True, eq=False)
class Composition:
    """What edits make of a project, ready to be drawn. Threads may share it.

    frames: the source's, counted from 0, through which the shot runs. shots: what the output's frames show, and when.
    adjustments: of the layers' colours and light, None for those left alone; base: the project with layers so adjusted.
    light: that in the light that edits make of shadows. shadows: those that edits take off or leave. hidden: layers (by
    number) that are taken away. replaced: layers of whose content nothing is left. backdrop: what is shown in place of
    the background. canvas: what happens to the layers' canvases. marker: what marks places that no frame saw.
    is_ordinary: whether no edit is one of the shot, so that all frames are the source's own.
    """

    project: Project
    edits: tuple[Edit, ...]
    frames: range
    shots: ShotList
    adjustments: tuple[Adjustment | None, ...]
    base: Project
    light: Relit
    shadows: ShadowPlan
    hidden: frozenset[int]
    replaced: frozenset[int]
    backdrop: Backdrop | None
    canvas: CanvasPlan
    marker: UnseenMarker | None
    is_ordinary: bool
    parts: "Parts" = field(repr=False)

    def with_edits(self, edits: Sequence[Edit], frames: range | None = None) -> "Composition":
        """Other edits of the same project, of which only what is new is worked out. frames: those of this one by
        default. LayerloomError as `compose`."""
        return _compose(self.project, edits, self.frames if frames is None else frames, Parts(self.parts))

    def canvas_shares(self) -> list[tuple[CanvasEdit, float | None]]:
        """Each edit of a canvas, and the share of it that it changes; None where that differs from time to time."""
        edits = [edit for edit in self.edits if isinstance(edit, CanvasEdit)]
        canvases = [layer.canvas for layer in self.project.layers]
        return [(edit, step.share(canvases)) for edit, step in zip(edits, self.canvas.steps, strict=True)]

    def unseen_shares(self) -> list[float]:
        """By output frame, the share of its pixels that show background which no frame saw, sampled. Edits of textures
        do not count as seeing; where the background is replaced, nothing of it shows."""
        if len(self.project.layers) - 1 in self.replaced:
            return [0.0 for _ in self.shots.shots]
        return unseen_shares(self.project, self.hidden, self.shots.shots)


def compose(project: Project, edits: Sequence[Edit] = (), frames: range | None = None) -> Composition:
    """A project under edits, which stack in the order given; hiding and adjusting layers and replacing the background
    come first.

    frames: the source's, from 0, that are shown at ordinary speed; all by default. Everything is checked, and files
    are read, before this returns: LayerloomError for layers, frames or files that are not there or not as they should
    be, and for edits that cannot go together.
    """
    return _compose(project, edits, project.source_range if frames is None else frames, Parts())


class Parts:
    """Parts by what they depend on. Those of an earlier composition are taken over if they are asked for again.

    Threads may share it while a composition is made; a part that two ask for at once may be made twice.
    """

    def __init__(self, earlier: "Parts | None" = None) -> None:
        self._earlier: Mapping[Hashable, Any] = {} if earlier is None else earlier._parts
        self._parts: dict[Hashable, Any] = {}

    def get(self, key: Hashable, make: Callable[[], Part]) -> Part:
        """The part of this key, made if there is none."""
        if key not in self._parts:
            part = self._earlier[key] if key in self._earlier else make()
            return self._parts.setdefault(key, part)
        return self._parts[key]

    def close(self) -> None:
        """Let go of what was not asked for again."""
        self._earlier = {}


def _compose(project: Project, edits: Sequence[Edit], frames: range, parts: Parts) -> Composition:
    project.check_frames(frames)
    shown = range(project.frame_index(frames.start), project.frame_index(frames[-1]) + 1)
    plan, shadows = _shot_plan(project, edits), _shadow_plan(project, edits)
    _check_together(plan)
    paths = parts.get("paths", lambda: CameraPaths(project))
    shots = parts.get(("shots", plan, shown), lambda: list_shots(project, plan, shown, paths))
    light_key = ("light", shadows, plan.moves, plan.duplicates, plan.retimings)
    stored_light = parts.get(light_key, lambda: relight(project, shadows, plan, paths))

    hidden = frozenset(project.layer_index(edit.layer) for edit in _of(edits, Hide))
    background, last = _last(edits, Background), len(project.layers) - 1
    replaced = hidden if background is None else hidden | {last}
    keys, adjustments = _adjustments(project, edits, replaced, parts)
    base = parts.get(("base", keys), lambda: adjust_layers(project, adjustments))
    light = parts.get((light_key, keys), lambda: _adjusted(stored_light, project, base, adjustments))
    backdrop = None
    if background is not None:
        backdrop = parts.get(("backdrop", background, _stamp(background.file)), partial(Backdrop, background))
    unseen, marker = _last(edits, Unseen), None
    if unseen is not None and background is None:
        text = unseen.content
        marker = parts.get(("unseen", text, hidden), lambda: UnseenMarker(project, text, hidden))
    compiler = _CanvasCompiler(light.project, project, (light_key, keys), hidden, parts)
    canvas = compiler.plan(edits, replaced)
    parts.close()
    return Composition(
        project=project,
        edits=tuple(edits),
        frames=frames,
        shots=shots,
        adjustments=adjustments,
        base=base,
        light=light,
        shadows=shadows,
        hidden=hidden,
        replaced=replaced,
        backdrop=None if last in hidden else backdrop,
        canvas=canvas,
        marker=marker,
        is_ordinary=not any(isinstance(edit, ShotEdit) for edit in edits),
        parts=parts,
    )


def _adjustments(
    project: Project, edits: Sequence[Edit], replaced: frozenset[int], parts: Parts
) -> tuple[tuple[Hashable, ...], tuple[Adjustment | None, ...]]:
    """By layer, what its adjustment depends on, and the adjustment; None where it is left alone or cannot be seen."""
    keys: list[Hashable] = [None] * len(project.layers)
    found: list[Adjustment | None] = [None] * len(project.layers)
    given = [(project.layer_index(edit.layer), edit) for edit in _of(edits, Adjust)]
    for layer in {number for number, edit in given if not edit.is_neutral} - replaced:
        own = tuple(edit for number, edit in given if number == layer and not edit.is_neutral)
        keys[layer] = tuple((edit, _stamp(edit.region)) for edit in own)
        make = partial(make_adjustment, project.layers[layer], own)
        found[layer] = parts.get(("adjust", keys[layer]), make)
    return tuple(keys), tuple(found)


def _adjusted(light: Relit, stored: Project, base: Project, adjustments: Sequence[Adjustment | None]) -> Relit:
    """The same light in a project whose layers are adjusted; base: the stored one with such layers."""
    relit = base if light.project is stored else adjust_layers(light.project, adjustments)
    return with_fields(light, project=relit) if any(adjustments) else light


def _of(edits: Sequence[Edit], kind: type[Kind]) -> list[Kind]:
    """The edits of a kind, in their order. (A Duplicate is no Move.)"""
    return [edit for edit in edits if type(edit) is kind]


def _last(edits: Sequence[Edit], kind: type[Kind]) -> Kind | None:
    """The last edit of a kind, which counts."""
    return next(reversed(_of(edits, kind)), None)


def _shot_plan(project: Project, edits: Sequence[Edit]) -> ShotPlan:
    """LayerloomError for layers and frames that are not there, or not for such an edit."""
    for edit in (*_of(edits, Move), *_of(edits, Duplicate)):
        _object_index(project, edit.layer)
    for edit in _of(edits, Stabilize):
        project.layer_index(edit.layer)
    for edit in _of(edits, Camera):
        if edit.lock is not None:
            project.frame_index(edit.lock)
    retimings = [_retiming(project, edit) for edit in edits if isinstance(edit, Freeze | Reverse)]
    speed, scale = _last(edits, Speed), _last(edits, Scale)
    return ShotPlan(
        moves=tuple(_of(edits, Move)),
        duplicates=tuple(_of(edits, Duplicate)),
        retimings=tuple({retiming.layer: retiming for retiming in retimings}.values()),
        cameras=tuple(_of(edits, Camera)),
        stabilize=_last(edits, Stabilize),
        extend=_last(edits, Extend),
        crop=bool(_of(edits, Crop)),
        speed=1.0 if speed is None else speed.factor,
        scale=1.0 if scale is None else scale.factor,
    )


def _shadow_plan(project: Project, edits: Sequence[Edit]) -> ShadowPlan:
    freed = frozenset(_object_index(project, edit.layer) for edit in _of(edits, Unshadow))
    left = frozenset(_object_index(project, edit.layer) for edit in _of(edits, LeaveShadow))
    hidden = frozenset(project.layer_index(edit.layer) for edit in _of(edits, Hide))
    return ShadowPlan(freed, left, hidden - {len(project.layers) - 1})


def _retiming(project: Project, edit: Freeze | Reverse) -> Retiming:
    layer = project.layer_index(edit.layer)
    return Retiming(layer, project.frame_index(edit.frame) if isinstance(edit, Freeze) else None)


def _object_index(project: Project, name: str) -> int:
    layer = project.layer_index(name)
    if project.layers[layer].kind == "background":
        raise LayerloomError(f"{name}: the background is the scene itself; only objects can be moved or unshadowed")
    return layer


def _check_together(plan: ShotPlan) -> None:
    if plan.stabilize is not None and any(camera.lock is not None for camera in plan.cameras):
        raise LayerloomError("camera: locked to a frame and stabilized at once; choose one")


class _CanvasCompiler:
    """Canvas edits to steps, and steps to what they are together."""

    def __init__(
        self,
        project: Project,
        stored: Project,
        keys: tuple[Hashable, tuple[Hashable, ...]],
        hidden: frozenset[int],
        parts: Parts,
    ) -> None:
        """project: adjusted and in the light that edits make. stored: as it is without them. keys: what the light
        depends on, and by layer, what its adjustment does."""
        self._project, self._stored, self._hidden, self._parts = project, stored, hidden, parts
        self._light, self._adjusted = keys

    def plan(self, edits: Sequence[Edit], replaced: frozenset[int]) -> CanvasPlan:
        """replaced: layers of whose content nothing is left, and of their edits neither."""
        keyed = self._steps([edit for edit in edits if isinstance(edit, CanvasEdit)])
        keys, steps = [key for key, _ in keyed], [_without(step, replaced) for _, step in keyed]
        patches = [
            self._parts.get(("layer", layer, _reaching(keys, steps, layer)), partial(stack_layer, steps, layer))
            for layer in range(len(self._project.layers))
        ]
        return CanvasPlan(steps, CanvasPass(tuple(patches)))

    def _steps(self, edits: Sequence[CanvasEdit]) -> list[tuple[Hashable, CanvasStep]]:
        """Each edit's step, and what it depends on. Files are read side by side."""
        return list(in_threads(self._step, edits)) if len(edits) > 1 else [self._step(edit) for edit in edits]

    def _step(self, edit: CanvasEdit) -> tuple[Hashable, CanvasStep]:
        if isinstance(edit, Paint):
            return self._paint(edit)
        layer = self._project.layer_index(edit.layer)
        make = self._maker(edit, layer)
        key = ("step", edit, _stamp(edit.font if isinstance(edit, Text) else edit.file), self._adjusted[layer])
        return key, self._parts.get(key, lambda: self._on_layer(layer, make()))

    def _paint(self, edit: Paint) -> tuple[Hashable, CanvasStep]:
        stamp = _stamp(edit.file)
        paint = self._parts.get(("painting", edit.file, edit.blend, stamp), lambda: read_paint(self._project, edit))

        def make() -> CanvasStep:
            return CanvasStep(tuple(paint_parts(self._project, edit, paint, self._hidden)), (edit.frame, paint))

        key = ("paint", edit, stamp, self._hidden, self._light)
        return key, self._parts.get(key, make)

    def _maker(self, edit: Texture | Overlay | Place | Text, layer: int) -> Callable[[], Patch | MovingPatch | None]:
        """What makes an edit's part. Files that are placed are read now, so that they are kept when places change."""
        if isinstance(edit, Texture):
            return partial(texture_patch, self._stored.layers[layer], edit.file, self._project.layers[layer])
        if isinstance(edit, Text):
            return partial(text_part, self._project, layer, edit)
        if isinstance(edit, Overlay):
            return partial(overlay_part, self._project, layer, edit, self._content(edit))
        return partial(place_part, self._project, layer, edit, self._content(edit))

    def _on_layer(self, layer: int, part: Patch | MovingPatch | None) -> CanvasStep:
        return CanvasStep(tuple(part if layer == number else None for number in range(len(self._project.layers))))

    def _content(self, edit: Overlay | Place) -> Content:
        """What a file shows, read once however often it is placed."""
        key = ("content", edit.file, edit.blend, edit.ends, _stamp(edit.file))
        return self._parts.get(key, lambda: read_content(self._project, edit.file, edit.blend, edit.ends))


def _without(step: CanvasStep, replaced: frozenset[int]) -> CanvasStep:
    parts = tuple(None if layer in replaced else part for layer, part in enumerate(step.parts))
    return CanvasStep(parts, step.painted)


def _reaching(keys: Sequence[Hashable], steps: Sequence[CanvasStep], layer: int) -> tuple[Hashable, ...]:
    """Of the steps that do something to a layer."""
    return tuple(key for key, step in zip(keys, steps, strict=True) if step.parts[layer] is not None)


def _stamp(file: Path | None) -> Hashable:
    """What changes when a file does, or a file of a folder: sizes and times of change."""
    if file is None:
        return None
    try:
        if file.is_dir():
            with os.scandir(file) as entries:
                return tuple(sorted((entry.name, *_changed(entry.stat())) for entry in entries))
        return _changed(file.stat())
    except OSError:
        return None  # reading it says what is wrong


def _changed(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns

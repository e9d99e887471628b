"""layerloom: a video as a few layers that an artist edits as still images.

    import layerloom as ll

    clip = ll.prepare("bear.mp4", masks="masks", quality="draft", on_progress=print)
    project = ll.decompose(clip, "bear.loom")
    ll.write_video(project, [ll.edits.Texture("bear", "edited.png")], "edited.mp4")

Ten names, each loaded when it is first asked for, so that importing layerloom takes no time and no PyTorch.

Some of the verbs are called as the packages or modules that they live in: `layerloom.render` is a package, and
importing any module of it sets that package as the attribute `render` of this one, whatever was there before. A
function of the same name would come and go with the order of imports. So a verb *is* its package, made callable:
`layerloom.render(project)` calls `layerloom.render.stream.render`, and `layerloom.render.stream` is its module, in
every order and for every tool that walks such names.
"""

import importlib
import inspect
import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from layerloom import edits as edits
    from layerloom.core.errors import LayerloomError as LayerloomError
    from layerloom.core.progress import Progress as Progress
    from layerloom.data.project import Project as Project
    from layerloom.decompose import decompose as decompose
    from layerloom.evaluate.evaluate import evaluate as evaluate
    from layerloom.export.export import export as export
    from layerloom.prepare.prepare import prepare as prepare
    from layerloom.render.stream import render as render
    from layerloom.render.video import write_video as write_video

__all__ = [
    "LayerloomError",
    "Progress",
    "Project",
    "decompose",
    "edits",
    "evaluate",
    "export",
    "prepare",
    "render",
    "write_video",
]

_VALUES = {
    "LayerloomError": "layerloom.core.errors",
    "Progress": "layerloom.core.progress",
    "Project": "layerloom.data.project",
    "write_video": "layerloom.render.video",
}
"""Name to the module that holds it."""

_VERBS = {
    "decompose": "layerloom.decompose",
    "evaluate": "layerloom.evaluate.evaluate",
    "export": "layerloom.export.export",
    "prepare": "layerloom.prepare.prepare",
    "render": "layerloom.render.stream",
}
"""Package or module of this name to the module that holds its function."""

# PyTorch's and Numba's thread pools share the cores: threads that spin while they wait take them from each other (a
# training step took ten times as long beside another busy process). OpenMP reads this once, when PyTorch is loaded: a
# program that loads it first can set it itself, and works without; processes that it starts have it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


class _Verb(ModuleType):
    """A package or module that can be called as the function that it is named after."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return _function(self)(*arguments, **named)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(_function(self))


class _Layerloom(ModuleType):
    """This package: its names are loaded when they are asked for, and its verbs can be called."""

    def __getattr__(self, name: str) -> Any:
        if name in _VALUES:
            return getattr(importlib.import_module(_VALUES[name]), name)
        if name in _VERBS or name == "edits":
            return importlib.import_module(f"{self.__name__}.{name}")
        raise AttributeError(f"module '{self.__name__}' has no attribute '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        # How the import machinery tells a package of its modules.
        if name in _VERBS and type(value) is ModuleType:
            value.__class__ = _Verb
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


def _function(verb: ModuleType) -> Any:
    name = verb.__name__.rpartition(".")[2]
    return getattr(importlib.import_module(_VERBS[name]), name)


sys.modules[__name__].__class__ = _Layerloom

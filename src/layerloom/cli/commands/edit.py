"""`layerloom edit`: the editor, in the browser."""

from typing import Annotated

from tyro.conf import arg

from layerloom.cli.arguments import ProjectFolder, Switch
from layerloom.data.project import Project


def edit(
    project: ProjectFolder,
    host: Annotated[str, arg(metavar="ADDRESS")] = "127.0.0.1",
    port: Annotated[int, arg(metavar="N")] = 0,
    no_open: Switch = False,
    allow_remote: Switch = False,
) -> None:
    """Edit a project in the browser: paint on a frame or a texture, and every frame follows.

    Args:
        project: What decompose wrote.
        host: Where to listen. Default: this machine alone.
        port: Which port. Default: a free one.
        no_open: Print the address, and leave the browser alone.
        allow_remote: Let other machines in, too, with a --host that they reach. Whoever sees the address can edit.
    """
    from layerloom.editor.serve import Place, serve

    place = Place(host, port, not no_open, allow_remote)
    serve(Project.open(project), place, lambda address: print(address, flush=True))

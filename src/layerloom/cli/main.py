"""The command line: finds the command that was typed, runs it, and says what went wrong in one line.

Exit codes: 0 done, 1 unexpected, 2 bad usage or input (one line); 130, 143, 129 ended by ctrl-C, SIGTERM, SIGHUP.
"""

import contextlib
import errno
import functools
import io
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

import tyro
from tyro.conf import FlagCreatePairsOff

from layerloom.cli.commands import batch, cache, decompose, demo, edit, evaluate, export, info, masks, render
from layerloom.core.errors import LayerloomError
from layerloom.core.interrupts import Terminated, terminations_as_interrupts

DESCRIPTION = "Turn a video into layers that are edited as still images, and the edited images back into video."

COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo.demo,
    "decompose": decompose.decompose,
    "batch": batch.batch,
    "info": info.info,
    "render": render.render,
    "export": export.export,
    "evaluate": evaluate.evaluate,
    "masks": masks.masks,
    "cache": cache.cache,
    "edit": edit.edit,
}
"""By name, in the order of the help."""

OUTSIDE_ERRORS = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT),
    *(errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP),
}
"""Rights, room and wrong places: what the user can mend."""


def main() -> None:
    """One command, as it was typed. Errors of the user's are one line; exit codes as docs/commands.md says."""
    try:
        with terminations_as_interrupts():
            _parse(sys.argv[1:])()
    except LayerloomError as error:
        _fail(f"{error}{_options(error)}", 2)
    except KeyboardInterrupt as interrupt:
        number = interrupt.number if isinstance(interrupt, Terminated) else signal.SIGINT
        _fail(str(interrupt) or "interrupted", 128 + number)
    except BrokenPipeError:
        # The reader of our output went away; nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno not in OUTSIDE_ERRORS:
            _fail_unexpectedly(error)
        _fail(f"{error.filename or 'output'}: {error.strerror}", 2)
    except Exception as error:
        _fail_unexpectedly(error)


def run() -> None:
    """The `layerloom` command: `main`, and then the end of the process.

    Taking a GPU's context and gigabytes of arrays apart takes a second, for what the system takes back at once.
    """
    main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _parse(arguments: list[str]) -> Callable[[], None]:
    """The command that is asked for, ready to run.

    LayerloomError for wrong usage: the parser's box of text as one line.
    """
    commands = {name: _postponed(command) for name, command in COMMANDS.items()}
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.extras.subcommand_cli_from_dict(
                commands, prog="layerloom", description=DESCRIPTION, args=arguments, config=(FlagCreatePairsOff,)
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise LayerloomError(_one_line(complaint.getvalue())) from None


def _one_line(box: str) -> str:
    """The parser's complaint, a box of text whose upper edge bears a title, with rules between its parts."""
    # Where the terminal's encoding has no lines, they are dashes.
    rows = (row.strip("│─╭╮╰╯ \n") for row in box.strip().splitlines())
    title, *rows = ("─" if set(row) <= {"-"} else row for row in rows)
    parts = " ".join(rows).strip("─ ").split("─")
    wrong = re.search(r"Error parsing \S+: .*? from \['(.*?)'\].*Argument helptext: (.*?)\s*─", " ".join(rows))
    if wrong:
        value, usage = wrong.groups()
        return f"'{value}' does not fit {' '.join(usage.split())} See layerloom --help"
    return f"{title}: {'; '.join(' '.join(part.split()) for part in parts)}"


def _postponed(command: Callable[..., None]) -> Callable[..., Callable[[], None]]:
    """The command as the parser sees it; called, it only notes its arguments."""

    @functools.wraps(command)
    def note(*values: Any, **named: Any) -> Callable[[], None]:
        return functools.partial(command, *values, **named)

    return note


def _options(error: LayerloomError) -> str:
    """What the user may say otherwise, as it is called here."""
    names = " or ".join(f"--{parameter.replace('_', '-')}" for parameter in error.parameters)
    return f" ({names})" if names else ""


def _fail(message: str, code: int) -> None:
    with contextlib.suppress(OSError):  # the terminal may be gone
        print(f"layerloom: {' '.join(message.split())}", file=sys.stderr, flush=True)
    sys.exit(code)


def _fail_unexpectedly(error: Exception) -> None:
    traceback.print_exc()
    _fail(f"unexpected {type(error).__name__}: {error}; this is a fault of layerloom", 1)

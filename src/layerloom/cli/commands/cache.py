"""`layerloom cache`: what is kept of prepared clips, and how it goes away."""

import time
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import UseAppendAction, arg

from layerloom.cli.arguments import OptionalFolder, Switch
from layerloom.cli.console import Console
from layerloom.core.atomic import leftovers, remove
from layerloom.core.errors import LayerloomError
from layerloom.data.array_store import Entry
from layerloom.data.clip_store import open_store


def cache(
    cache: OptionalFolder = None,
    empty: Switch = False,
    clean: Annotated[UseAppendAction[tuple[Path, ...]], arg(metavar="DIR")] = (),
    json: Switch = False,
) -> None:
    """Show the prepared clips that are kept, so that learning from them again begins at once.

    Args:
        cache: The folder. Default: LAYERLOOM_CACHE, or layerloom in the user's cache folder.
        empty: Remove them.
        clean: A folder from which to remove what killed runs left in it (hidden, *.partial*).
        json: One JSON object instead of a table.
    """
    store = open_store(cache)
    if store is None:
        raise LayerloomError("the cache is switched off (LAYERLOOM_CACHE=off)")
    abandoned = [*store.leftovers(), *(path for folder in clean for path in leftovers(folder))]
    for path in abandoned:
        remove(path)
    entries = [] if empty else store.entries()
    freed = store.empty() if empty else 0
    facts: dict[str, Any] = {
        "folder": str(store.folder),
        "limit_gib": store.limit_bytes / 2**30,
        "kept_gib": sum(entry.bytes for entry in entries) / 2**30,
        "clips": [_describe(entry) for entry in reversed(entries)],
        "freed_gib": freed / 2**30,
        "leftovers_removed": len(abandoned),
    }
    with Console(json) as console:
        console.facts(facts if json else _table(facts))


def _describe(entry: Entry) -> dict[str, Any]:
    used = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(entry.used))
    return {"footage": entry.about, "mib": round(entry.bytes / 2**20, 1), "last_used": used}


def _table(facts: dict[str, Any]) -> dict[str, str]:
    rows = {
        "folder": facts["folder"],
        "kept": f"{facts['kept_gib']:.2f} of at most {facts['limit_gib']:g} GiB",
        "freed": f"{facts['freed_gib']:.2f} GiB",
        "leftovers removed": str(facts["leftovers_removed"]),
    }
    for number, clip in enumerate(facts["clips"], 1):
        rows[f"clip {number}"] = f"{clip['footage']}, {clip['mib']} MiB, last used {clip['last_used']}"
    return rows

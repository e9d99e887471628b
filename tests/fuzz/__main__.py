"""`python -m tests.fuzz`: each target in a process of its own, so that a crash is one target's finding."""

import argparse
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.fuzz.driver import fuzz
from tests.fuzz.targets import TARGETS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("targets", nargs="*", default=list(TARGETS), help=", ".join(TARGETS))
    parser.add_argument("-s", "--seconds", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    arguments = parser.parse_args()
    if arguments.keep:
        arguments.keep.mkdir(parents=True, exist_ok=True)
    if len(arguments.targets) > 1:
        rest = ["-s", str(arguments.seconds), "--seed", str(arguments.seed)]
        rest += ["--keep", str(arguments.keep)] if arguments.keep else []
        commands = [[sys.executable, "-m", "tests.fuzz", target, *rest] for target in arguments.targets]
        return max(abs(subprocess.run(command, check=False).returncode) for command in commands)
    (name,) = arguments.targets
    outcome = fuzz(TARGETS[name], arguments.seconds, arguments.seed, arguments.keep)
    print(name, dict(outcome.counts), flush=True)
    for trouble, times in Counter(trouble[:200] for trouble, _ in outcome.findings).most_common(20):
        print(f"  {times} × {trouble}")
    return 1 if outcome.findings else 0


if __name__ == "__main__":
    sys.exit(main())

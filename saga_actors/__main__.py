"""`python -m saga_actors bench`: measure a node on this machine."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command that the arguments name; the exit code."""
    if sys.argv[1:2] != ["bench"]:
        print("usage: python -m saga_actors bench [--help]", file=sys.stderr)
        return 2
    from saga_actors.bench.command import main as bench

    return bench(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())

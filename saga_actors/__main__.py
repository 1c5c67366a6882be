"""`python -m saga_actors` is `saga-actors`."""

from __future__ import annotations

import sys

from saga_actors.cli.main import main

if __name__ == "__main__":
    sys.exit(main())

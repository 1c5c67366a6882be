"""Where blocking calls may be made: on any thread but one that runs an event loop."""

from __future__ import annotations

import sys

from saga_actors.errors import EventLoopError


def refuse_on_event_loop() -> None:
    """Raise EventLoopError on a thread that runs an event loop."""
    if _is_on_event_loop():
        raise EventLoopError(
            "a blocking call was made on a thread that runs an event loop, which would stand still; use an "
            "AsyncCoordinator (await sagas.run(...)), or another thread: asyncio.to_thread(sagas.run, ...)"
        )


def _is_on_event_loop() -> bool:
    asyncio = sys.modules.get("asyncio")  # importing it takes a quarter of what importing this package does
    if asyncio is None:
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True

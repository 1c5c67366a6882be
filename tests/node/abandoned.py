"""A watchdog of sorts, to be killed: it takes the lock of the journal that it is given, and has a child hold it too."""

from __future__ import annotations

import subprocess
import sys

from saga_actors.node_folder import NodeFolder, ProcessId, sign_lock, take_lock

if __name__ == "__main__":
    folder = NodeFolder.of(sys.argv[1])
    folder.make()
    lock = take_lock(folder)
    sign_lock(lock)
    child = subprocess.Popen(["sleep", "600"], pass_fds=[lock])
    identity = ProcessId.of(child.pid)
    assert identity is not None
    folder.register(identity, "survivor")
    print(child.pid, flush=True)
    sys.stdin.read()

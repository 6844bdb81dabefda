"""The parent of a vLLM server: ends all its processes when the server ends, or when whoever started it does.

`python -m engines.vllm_guard COMMAND…`, with a pipe as standard input that the starter keeps open. vLLM's engine is a
grandchild that outlives a killed API server for ever, with its memory: only a group of its own, ended as a whole,
leaves nothing behind. SIGTERM is passed on to the server; the exit code is the server's.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence

from engines.child import die_with_parent

GRACE_S = 10.0
"""How long the server may take to end once its starter is gone."""

PID_LINE = "vllm_guard: process group "
"""First line of output, then the group's number: the starter ends the group itself should the guard be killed."""


def run(command: Sequence[str], lifeline: int) -> int:
    """Run `command` in a process group of its own until it ends or `lifeline` (a file descriptor) is closed."""
    server = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, process_group=0, preexec_fn=die_with_parent(signal.SIGKILL)
    )
    print(f"{PID_LINE}{server.pid}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    _wait(server.pid, lifeline)
    # Not yet reaped, so the group's number cannot have been given to anybody else.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    code = server.wait()
    return code if code >= 0 else 128 - code


def _wait(pid: int, lifeline: int) -> None:
    """Return when `pid` has ended; ask it to end when `lifeline` closes, and wait no longer than `GRACE_S` then."""
    ended = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(ended, select.POLLIN)
        poll.register(lifeline, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if ended in ready:
                return
            if os.read(lifeline, 4096) == b"":
                break
        poll.unregister(lifeline)
        signal.pidfd_send_signal(ended, signal.SIGTERM)
        poll.poll(GRACE_S * 1000)
    finally:
        os.close(ended)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:], sys.stdin.fileno()))

"""Child processes that never outlive their parent."""

import ctypes
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing import connection, parent_process

_PR_SET_PDEATHSIG = 1


def die_with_parent(sig: signal.Signals = signal.SIGTERM) -> Callable[[], None]:
    """A `preexec_fn` by which Linux sends `sig` to the child when its parent ends, however it ends.

    The C library is loaded here, before the fork: loading it between fork and exec can deadlock.
    """
    libc = ctypes.CDLL(None, use_errno=True)

    def set_signal() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(sig))

    return set_signal


def end_with_parent() -> None:
    """Let this process, if multiprocessing started it, be killed when its parent has ended, however it ended.

    A thread waits for that. The kernel's own signal (see `die_with_parent`) tells of the parent's *thread*, and which
    thread of a framework starts its processes is not known here.
    """
    parent = parent_process()
    if parent is None:
        return

    def wait() -> None:
        connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()

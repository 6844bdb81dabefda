"""Child processes that never outlive their parent."""

import ctypes
import signal
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def die_with_parent(sig: signal.Signals = signal.SIGTERM) -> Callable[[], None]:
    """A `preexec_fn` by which Linux sends `sig` to the child when its parent ends, however it ends.

    The C library is loaded here, before the fork: loading it between fork and exec can deadlock.
    """
    libc = ctypes.CDLL(None, use_errno=True)

    def set_signal() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(sig))

    return set_signal

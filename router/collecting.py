"""Python's search for garbage in cycles, told how a router allocates."""

import gc

YOUNG, MIDDLE, OLD = 5_000, 20, 50
"""New objects before a search, and searches before one among those that outlived one, and two.

Python's 700 are as many as a few requests hold while they run: it searched all the time, for next to nothing. Five
thousand are searched in a millisecond.
"""


def search_seldom() -> None:
    """For the process of a router, once it is up: what is there now is never searched again.

    Most of what a request leaves behind is freed at once, without a search.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)

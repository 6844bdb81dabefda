"""An event loop that stands still, as on a machine that is busy with other things."""

import asyncio
import time


def stand_still(for_s: float) -> None:
    """Nothing else runs on this loop meanwhile: that is the fault, not a wait."""
    time.sleep(for_s)


async def held_up(rounds: int, for_s: float) -> None:
    """Let everything else run in so many rounds, each after the loop stood still."""
    for _ in range(rounds):
        stand_still(for_s)
        await asyncio.sleep(0)

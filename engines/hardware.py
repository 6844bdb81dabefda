"""What an engine shares with others: cores of a machine, or a part of a GPU."""

import os
import socket

from engines.pool import PoolSettings
from engines.vllm_command import runs_on_cpu


def shared_hardware(pool: PoolSettings) -> str | None:
    """A name that all engines give who may slow this one by being at work; None where it has its hardware to itself.

    Engines that share and do not slow each other lose nothing by it: what a neighbour costs is learnt from step times.
    """
    if pool.engine != "vllm":
        return None
    if runs_on_cpu(pool):
        return f"{socket.gethostname()}/cpu"
    if pool.gpus < 1 and pool.placement.gpus == 1:
        return f"{socket.gethostname()}/gpu/{os.environ.get('CUDA_VISIBLE_DEVICES', '')}"
    return None

"""Processes that must not outlive whoever started them."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from engines.child import end_with_parent

PARENT = """
import multiprocessing, sys, time
sys.path.insert(0, sys.argv[1])
import test_child

if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=test_child.core)
    child.start()
    time.sleep(60)
"""


def core() -> None:
    """What an engine core does, as far as this goes: it says who it is and works on."""
    end_with_parent()
    print(os.getpid(), flush=True)
    time.sleep(60)


def test_a_core_ends_when_its_server_is_killed(tmp_path: Path) -> None:
    """Killed outright, the parent can tell nobody; the child notices."""
    program = tmp_path / "parent.py"
    program.write_text(PARENT)
    command = [sys.executable, str(program), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        psutil.wait_procs([child], timeout=10)
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_a_process_of_its_own_is_left_alone() -> None:
    """What multiprocessing did not start has no parent to wait for."""
    assert multiprocessing.parent_process() is None
    end_with_parent()

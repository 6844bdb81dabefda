"""A service that was killed outright leaves nothing that the next one would stumble over."""

import subprocess
from pathlib import Path

import psutil

from router.local.leftovers import claim, sweep


def test_what_a_killed_service_left_is_ended_and_deleted(tmp_path: Path) -> None:
    """Its folder is claimed by nobody any more; those of living services, and others' folders, stay."""
    dead, alive, foreign = (tmp_path / name for name in ("ar-dead", "ar-alive", "ar-foreign"))
    for folder in (dead, alive, foreign):
        folder.mkdir()
    claim(dead).close()
    with claim(alive):
        left = subprocess.Popen(["tail", "-f", str(dead / "owner")])
        try:
            assert sweep(tmp_path) == [dead]
            assert psutil.wait_procs([psutil.Process(left.pid)], timeout=5)[1] == [] or left.wait(5)
        finally:
            left.kill()
            left.wait()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["ar-alive", "ar-foreign"]
        assert sweep(tmp_path) == []
    assert sweep(tmp_path) == [alive]

"""A service that was killed outright leaves nothing that the next one would stumble over."""

import signal
import subprocess
from pathlib import Path

from redises import until

from router.local.haproxy import configured_below
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
            until(lambda: configured_below(dead), "the process has no command line")  # exec shows it a moment late
            assert sweep(tmp_path) == [dead]
            assert left.wait(5) == -signal.SIGKILL
        finally:
            left.kill()
            left.wait()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["ar-alive", "ar-foreign"]
        assert sweep(tmp_path) == []
    assert sweep(tmp_path) == [alive]

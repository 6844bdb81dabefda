"""The logs of a service on one machine can be found while it runs and after it failed."""

import os
from pathlib import Path
from unittest.mock import patch

import pytest
from service import settings_with

from engines.ports import free_port
from router.errors import SetupError
from router.local import log_folder as folders
from router.local.log_folder import LogFolder, log_folder
from router.local.service import LocalService


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where folders are made."""
    monkeypatch.delenv("ALPHAROUTE_LOG_DIR", raising=False)
    monkeypatch.setenv("ALPHAROUTE_CACHE", str(tmp_path))
    return tmp_path


def test_processes_are_told_of_the_folder_until_the_service_ends(cache: Path) -> None:
    """The variable is what the processes of Ray inherit; the next service has a folder of its own."""
    folder = log_folder()
    folder.tell()
    assert Path(os.environ["ALPHAROUTE_LOG_DIR"]) == folder.path
    assert folder.path.parent == cache / "logs"
    assert folder.path.stat().st_mode & 0o777 == 0o700
    folder.end()
    assert "ALPHAROUTE_LOG_DIR" not in os.environ
    assert folder.path.exists(), "it outlives the service"


def test_a_folder_that_was_chosen_is_used_and_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable stays as it was set."""
    monkeypatch.setenv("ALPHAROUTE_LOG_DIR", str(cache / "mine"))
    folder = log_folder()
    folder.tell()
    folder.end()
    assert os.environ["ALPHAROUTE_LOG_DIR"] == str(cache / "mine")
    assert (cache / "mine").is_dir()


def test_the_newest_folders_of_ended_services_stay(cache: Path) -> None:
    """Beside them that of a service that runs, and whatever is not ours."""
    home = cache / "logs"
    for name in ("20260101-000000-999999999", "20260102-000000-999999999", f"20260101-000000-{os.getpid()}", "notes"):
        (home / name).mkdir(parents=True)
    with patch.object(folders, "KEPT", 1):
        own = log_folder().path.name
    names = {folder.name for folder in home.iterdir()}
    assert names == {"20260102-000000-999999999", f"20260101-000000-{os.getpid()}", "notes", own}


def test_without_a_place_at_home_there_is_one_for_temporary_files(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home that cannot be written to is no reason not to start."""
    (cache / "file").touch()
    monkeypatch.setenv("ALPHAROUTE_CACHE", str(cache / "file"))
    folder = log_folder()
    assert folder.path.is_dir()
    folder.path.rmdir()


def test_after_a_failed_start_ray_s_logs_are_kept(cache: Path) -> None:
    """Ray's own folder goes with the service; what its processes said last is why it failed."""
    service = LocalService(settings_with(listen={"port": free_port()}))
    said = service.scratch / "ray" / "session_latest" / "logs" / "worker-1.err"

    def fail(self: LocalService) -> None:
        said.parent.mkdir(parents=True)
        said.write_text("why")
        raise SetupError("no")

    with (
        patch.object(LocalService, "_start_redis", lambda _: None),
        patch.object(LocalService, "_start_ray", fail),
        pytest.raises(SetupError),
        service,
    ):
        pass
    assert service.logs is not None
    assert (service.logs / "ray" / "worker-1.err").read_text() == "why"
    assert not service.scratch.exists()


def test_a_service_that_never_had_ray_keeps_nothing_more(cache: Path) -> None:
    """There is nothing to copy, and that is no error."""
    folder = LogFolder(cache / "logs", own=True)
    folder.keep(cache / "ray")
    assert not (folder.path / "ray").exists()

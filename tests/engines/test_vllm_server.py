"""A supervised server process: ready, dead, stuck, drained, never anything left behind (vLLM played by a script)."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import fake_vllm
import pytest

from engines.pool import PoolSettings, VllmOptions
from engines.vllm_command import Command
from engines.vllm_errors import EngineDiedError, EngineStartTimeoutError, ModelNotFoundError, PortInUseError
from engines.vllm_server import EngineServer, Progress

POOL = PoolSettings(name="vanilla", target="/nowhere", vllm=VllmOptions(start_timeout_s=20))


def played(mode: str, folder: Path) -> Callable[..., Command]:
    """A command builder that starts the stand-in in `mode`."""

    def build(pool: PoolSettings, *, host: str, port: int, api_key: str) -> Command:
        argv = (sys.executable, fake_vllm.__file__, host, str(port), mode, str(folder))
        return Command(argv, dict(os.environ))

    return build


def server(mode: str, folder: Path, **options: object) -> EngineServer:
    """An engine server for the stand-in."""
    return EngineServer(POOL, build=played(mode, folder), **options)  # type: ignore[arg-type]


def pids(folder: Path) -> list[int]:
    """The stand-in's process and its child's."""
    return [int(pid) for pid in (folder / "pids").read_text().split()]


def alive(pid: int) -> bool:
    """Whether the process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def parent(pid: int) -> int:
    """The process's parent."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def gone(folder: Path, limit_s: float = 10) -> bool:
    """Whether both processes end within the limit."""
    deadline_s = time.monotonic() + limit_s
    while any(map(alive, pids(folder))):
        if time.monotonic() > deadline_s:
            return False
        await asyncio.sleep(0.02)
    return True


async def test_a_started_server_is_healthy_and_tells_its_progress(tmp_path: Path) -> None:
    """Start returns once /health answers; the phases come in vLLM's order; the log goes to the file."""
    told: list[Progress] = []
    log = tmp_path / "logs" / "engine.log"
    async with server("ok", tmp_path, log_file=log, on_progress=told.append) as engine:
        assert (await engine.load()).running == 0
        assert engine.url == f"http://127.0.0.1:{engine.port}"
        assert fake_vllm.START_LINES[0] in engine.tail()
    assert [p.phase for p in told] == [
        "starting",
        "configuring",
        "loading the target",
        "loading the drafter",
        "allocating the KV cache",
        "serving",
        "ready",
    ]
    assert [p.elapsed_s for p in told] == sorted(p.elapsed_s for p in told)
    assert fake_vllm.START_LINES[-1] in log.read_text().splitlines()
    assert await gone(tmp_path)


async def test_a_server_that_dies_at_start_shows_its_last_lines(tmp_path: Path) -> None:
    """The error carries the exit code and the cause, without the noise vLLM ends with; its child ends too."""
    with pytest.raises(
        EngineDiedError, match=r"'vanilla' ended with exit code 3; its last(.|\n)*CUDA out of memory"
    ) as died:
        await server("dies", tmp_path).start()
    assert died.value.exit_code == 3
    assert "nanobind" not in str(died.value)
    assert await gone(tmp_path)


async def test_a_port_taken_meanwhile_is_replaced(tmp_path: Path) -> None:
    """Between choosing a free port and vLLM's binding it somebody else may: another one is tried."""
    async with server("port-taken", tmp_path) as engine:
        assert (tmp_path / "tried").exists()
        assert (await engine.load()).waiting == 0


async def test_a_fixed_port_in_use_is_named(tmp_path: Path) -> None:
    """A port the caller insists on is not replaced, and vLLM is not started in vain."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUseError, match=f"'127.0.0.1', port {port}"):
            await server("ok", tmp_path, port=port).start()
    assert not (tmp_path / "pids").exists()


async def test_a_server_that_never_gets_healthy_is_given_up(tmp_path: Path) -> None:
    """The error names the limit and what it was doing; nothing is left running."""
    hasty = POOL.model_copy(update={"vllm": VllmOptions(start_timeout_s=1.5)})
    engine = EngineServer(hasty, build=played("hangs", tmp_path))
    with pytest.raises(EngineStartTimeoutError, match=r"after 1\.5 s .*it was allocating the KV cache"):
        await engine.start()
    assert await gone(tmp_path)


async def test_a_missing_model_is_told_before_anything_starts() -> None:
    """With the real command."""
    with pytest.raises(ModelNotFoundError, match="target '/nowhere' is not a folder"):
        await EngineServer(POOL).start()


@pytest.mark.parametrize("victim", [0, 1], ids=["server", "engine"])
async def test_a_killed_server_is_noticed_and_takes_its_engine_along(tmp_path: Path, victim: int) -> None:
    """vLLM's engine outlives its API server, so the whole group must end; a dead engine ends vLLM's server itself."""
    async with server("ok", tmp_path) as engine:
        os.kill(pids(tmp_path)[victim], signal.SIGKILL)
        if victim == 1:
            os.kill(pids(tmp_path)[0], signal.SIGTERM)
        died = await asyncio.wait_for(engine.died(), 10)
        assert died.exit_code == (128 + signal.SIGKILL if victim == 0 else 128 + signal.SIGTERM)
        assert await gone(tmp_path)


async def test_a_killed_guard_leaves_nothing(tmp_path: Path) -> None:
    """The process between us and vLLM may be killed as well."""
    async with server("ok", tmp_path) as engine:
        guard = parent(pids(tmp_path)[0])
        os.kill(guard, signal.SIGKILL)
        assert (await asyncio.wait_for(engine.died(), 10)).exit_code == -signal.SIGKILL
        assert await gone(tmp_path)


async def test_stop_ends_a_server_that_will_not(tmp_path: Path) -> None:
    """SIGTERM, then after the grace SIGKILL, to the child as well; stopping twice is harmless."""
    engine = server("stubborn", tmp_path)
    await engine.start()
    await engine.stop(grace_s=0.3)
    assert await gone(tmp_path)
    await engine.stop()


async def test_drain_waits_for_running_requests(tmp_path: Path) -> None:
    """Drained when nothing runs any more, and not while something does."""
    async with server("ok", tmp_path) as engine:
        running = tmp_path / "running"
        running.write_text("2")
        assert not await engine.drain(limit_s=0.3)
        asyncio.get_running_loop().call_later(0.3, running.write_text, "0")
        assert await engine.drain(limit_s=10)


STARTER = """
import asyncio, sys
sys.path[:0] = {path!r}
from pathlib import Path
import test_vllm_server as t
async def main():
    await t.server("ok", Path({folder!r})).start()
    print("started", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_a_killed_starter_leaves_nothing(tmp_path: Path) -> None:
    """Whatever ends the process that started vLLM, vLLM ends with it: it cannot be asked to clean up any more."""
    code = STARTER.format(path=[str(Path(__file__).parent), *sys.path], folder=str(tmp_path))
    starter = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    assert starter.stdout is not None
    assert await starter.stdout.readline() == b"started\n"
    assert all(map(alive, pids(tmp_path)))
    starter.kill()
    await starter.communicate()
    assert await gone(tmp_path)

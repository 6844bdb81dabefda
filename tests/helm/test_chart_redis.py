"""The built-in Redis starts by the chart's own script, on a real redis-server."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from chart import container, one
from redis import Redis
from redis.exceptions import AuthenticationError, ConnectionError

from engines.ports import free_port
from router.local.embedded_redis import redis_binary

pytestmark = pytest.mark.redis

PASSWORDS = ["s3cret", "pa ss", 'a"b', "it's", "back\\slash", "$HOME `id` #x", "tab\tand é", "ends\n"]


def _local(script: str, folder: Path) -> str:
    """The script with this test's folders in place of the pod's mounts."""
    script = script.replace("/run/secrets/redis", str(folder)).replace("/etc/redis", str(folder))
    return script.replace("exec redis-server", f"exec {redis_binary()}")


def _script(name: str, folder: Path) -> list[str]:
    """The command that runs a script of the ConfigMap, on files in `folder`."""
    (folder / name).write_text(_local(one({}, "ConfigMap", "-redis")["data"][name], folder))
    return [shutil.which("dash") or "sh", str(folder / name)]


@pytest.mark.parametrize("password", PASSWORDS)
def test_it_starts_with_its_password_and_keeps_data(tmp_path: Path, password: str) -> None:
    """Strangers are turned away, the configuration counts, the password is on no command line, data are on disk."""
    rendered = one({"redis": {"builtin": {"maxMemory": "64mb"}}}, "ConfigMap", "-redis")["data"]
    port, data = free_port(), tmp_path / "data"
    data.mkdir()
    (tmp_path / "password").write_text(password)
    (tmp_path / "redis.conf").write_text(rendered["redis.conf"].replace("/data", str(data)) + f"port {port}\n")
    process = subprocess.Popen(_script("start.sh", tmp_path), stdout=subprocess.DEVNULL)
    try:
        client = Redis(port=port, password=password)
        _until_up(client)
        assert client.config_get("maxmemory") == {"maxmemory": str(64 * 1024 * 1024)}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        with pytest.raises(AuthenticationError):
            Redis(port=port).get("x")
        assert password.encode() not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert any("append" in name for name in os.listdir(data))
        client.close()
    finally:
        process.terminate()
        assert process.wait(10) == 0, "the script must hand over to redis-server, or a pod's SIGTERM would not reach it"


def _until_up(client: Redis) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            client.ping()
            return
        except ConnectionError:
            assert time.monotonic() < deadline, "redis-server did not start"
            time.sleep(0.02)


def test_an_empty_password_is_none_at_all(tmp_path: Path) -> None:
    """The server does not start: it would let everybody in."""
    (tmp_path / "password").write_text("")
    (tmp_path / "redis.conf").write_text("")
    done = subprocess.run(_script("start.sh", tmp_path), capture_output=True, text=True, timeout=10, check=False)
    assert (done.returncode, done.stderr) == (1, "The password is empty: everybody would be let in.\n")


@pytest.mark.parametrize("password", PASSWORDS)
def test_probes_give_the_password_as_it_is(tmp_path: Path, password: str) -> None:
    """To the last character, by the environment."""
    (tmp_path / "password").write_text(password)
    (tmp_path / "redis-cli").write_text('#!/bin/sh\nprintf %s "$REDISCLI_AUTH" > "$SEEN"\necho PONG\n')
    (tmp_path / "redis-cli").chmod(0o755)
    seen = tmp_path / "seen"
    found = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SEEN": str(seen)}
    subprocess.run(_script("ping.sh", tmp_path), env=found, timeout=10, check=True)
    assert seen.read_text() == password


def test_the_server_is_one_without_the_known_hole() -> None:
    """CVE-2025-49844 was mended in 7.2.11 and 8.2.2."""
    image = container(one({}, "StatefulSet")["spec"]["template"])["image"]
    version = tuple(int(part) for part in image.removeprefix("redis:").removesuffix("-alpine").split("."))
    assert (7, 2, 11) <= version < (7, 3) or version >= (8, 2, 2)


def test_the_pod_runs_those_scripts() -> None:
    """From the folder that the ConfigMap is mounted at, in all three probes too."""
    redis = container(one({}, "StatefulSet")["spec"]["template"])
    assert redis["command"] == ["sh", "/etc/redis/start.sh"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert redis[probe]["exec"]["command"] == ["sh", "/etc/redis/ping.sh"]
    mounts = {mount["name"]: mount["mountPath"] for mount in redis["volumeMounts"]}
    assert mounts == {"data": "/data", "config": "/etc/redis", "password": "/run/secrets/redis", "tmp": "/tmp"}

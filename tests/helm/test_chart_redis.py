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

PASSWORD = "s3cret"


def _local(script: str, folder: Path) -> str:
    """The script with this test's folders in place of the pod's mounts."""
    script = script.replace("/run/secrets/redis", str(folder)).replace("/etc/redis", str(folder))
    return script.replace("exec redis-server", f"exec {redis_binary()}")


def test_it_starts_with_its_password_and_keeps_data(tmp_path: Path) -> None:
    """Strangers are turned away, the configuration counts, the password is on no command line, data are on disk."""
    rendered = one({"redis": {"builtin": {"maxMemory": "64mb"}}}, "ConfigMap", "-redis")["data"]
    port, data = free_port(), tmp_path / "data"
    data.mkdir()
    (tmp_path / "password").write_text(PASSWORD)
    (tmp_path / "redis.conf").write_text(rendered["redis.conf"].replace("/data", str(data)) + f"port {port}\n")
    (tmp_path / "start.sh").write_text(_local(rendered["start.sh"], tmp_path))
    shell = shutil.which("dash") or "sh"
    process = subprocess.Popen([shell, str(tmp_path / "start.sh")], stdout=subprocess.DEVNULL)
    try:
        client = Redis(port=port, password=PASSWORD)
        _until_up(client)
        assert client.config_get("maxmemory") == {"maxmemory": str(64 * 1024 * 1024)}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        with pytest.raises(AuthenticationError):
            Redis(port=port).get("x")
        assert PASSWORD.encode() not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
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


def test_the_pod_runs_those_scripts() -> None:
    """From the folder that the ConfigMap is mounted at, in all three probes too."""
    redis = container(one({}, "StatefulSet")["spec"]["template"])
    assert redis["command"] == ["sh", "/etc/redis/start.sh"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert redis[probe]["exec"]["command"] == ["sh", "/etc/redis/ping.sh"]
    mounts = {mount["name"]: mount["mountPath"] for mount in redis["volumeMounts"]}
    assert mounts == {"data": "/data", "config": "/etc/redis", "password": "/run/secrets/redis", "tmp": "/tmp"}

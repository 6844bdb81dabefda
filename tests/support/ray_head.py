"""A Ray head as a pod of the chart runs it, on this machine: `serve deploy` talks to its dashboard."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from engines.ports import free_port
from router.local.haproxy import end_haproxies

BIN = Path(sys.executable).parent
START_LIMIT_S = 90.0
STOP_LIMIT_S = 20.0
TOKEN = "a-token-that-kuberay-would-make"


@dataclass(frozen=True)
class RayHead:
    """A running head; `deploy` hands it a Serve configuration as KubeRay does."""

    dashboard: str
    url: str
    port: int
    folder: Path
    env: Mapping[str, str]

    def deploy(self, config: Mapping[str, Any]) -> None:
        """`serve deploy`, with this head's port in place of the pod's."""
        file = self.folder / "serve.json"  # JSON is YAML
        file.write_text(json.dumps({**config, "http_options": {"host": "127.0.0.1", "port": self.port}}))
        done = subprocess.run(
            [BIN / "serve", "deploy", "--address", self.dashboard, str(file)],
            capture_output=True,
            text=True,
            timeout=60,
            env=dict(self.env),
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def application(self) -> dict[str, Any]:
        """What Serve says of the application."""
        applications: dict[str, dict[str, Any]] = self.serve_status()["applications"]
        return applications["alpharoute"]

    def serve_status(self) -> dict[str, Any]:
        """The dashboard's answer; it wants the cluster's token."""
        url = f"{self.dashboard}/api/serve/applications/"
        request = urllib.request.Request(url, headers={"authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            status: dict[str, Any] = json.load(answer)
        return status

    def until_running(self, limit_s: float) -> dict[str, Any]:
        """Wait until Serve calls the application running and no deployment is still changing."""
        deadline = time.monotonic() + limit_s
        while True:
            seen = self.application()
            assert seen["status"] != "DEPLOY_FAILED", seen["message"]
            settled = all(deployment["status"] == "HEALTHY" for deployment in seen["deployments"].values())
            if seen["status"] == "RUNNING" and settled:
                return seen
            assert time.monotonic() < deadline, f"not running after {limit_s:.0f} s: {seen}"
            time.sleep(0.3)


@contextlib.contextmanager
def ray_head(resources: Mapping[str, int], env: Mapping[str, str]) -> Iterator[RayHead]:
    """Start `ray start --head` with the environment of a pod; ends it and everything it started."""
    folder = Path(tempfile.mkdtemp(prefix="rh-", dir="/tmp"))  # short: below it Ray makes Unix sockets
    port, dashboard, gcs = free_port(), free_port(), free_port()
    variables = {**os.environ, **env, **_own_ports(folder, port)}
    command = [
        *(str(BIN / "ray"), "start", "--head", "--block", "--disable-usage-stats", "--num-cpus", "8"),
        *("--port", str(gcs), "--dashboard-port", str(dashboard), "--temp-dir", str(folder / "ray")),
        *("--object-store-memory", str(128 * 1024 * 1024), "--resources", json.dumps(resources)),
        *("--dashboard-agent-listen-port", str(free_port()), "--metrics-export-port", str(free_port())),
        *("--ray-client-server-port", str(free_port())),
    ]
    log = (folder / "ray.log").open("wb")
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=variables, start_new_session=True)
    try:
        head = RayHead(f"http://127.0.0.1:{dashboard}", f"http://127.0.0.1:{port}", port, folder, variables)
        _until_up(head, process)
        yield head
    finally:
        end_head(process, folder)
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


def end_head(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Politely, then by force: the command itself, what it started, and HAProxies that nobody owns any more."""
    family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.terminate()
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(family, timeout=5)
    for left in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            left.kill()
    psutil.wait_procs(alive, timeout=5)
    end_haproxies(folder)


def _own_ports(folder: Path, port: int) -> dict[str, str]:
    """What several Ray clusters on one machine must not share; pods do not meet there."""
    haproxy = folder / "h"
    haproxy.mkdir()
    first = 20_000 + port % 90 * 100
    return {
        "RAY_ADDRESS": "",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": TOKEN,
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(haproxy / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(haproxy / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(haproxy),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(haproxy / "server-state"),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(first),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(first + 99),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free_port()),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
    }


def _until_up(head: RayHead, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while True:
        try:
            head.serve_status()
            return
        except (urllib.error.URLError, OSError):
            assert process.poll() is None, (head.folder / "ray.log").read_text()
            assert time.monotonic() < deadline, (head.folder / "ray.log").read_text()
            time.sleep(0.3)

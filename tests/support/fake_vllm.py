"""A stand-in for vLLM's server: its log lines, /health and /metrics, a child of its own, and failures on demand.

`fake_vllm.py HOST PORT MODE FOLDER`; MODE is one of those tested below, FOLDER takes the process ids and any state.
"""

import http.server
import os
import signal
import subprocess
import sys
from pathlib import Path

START_LINES = (
    "(APIServer pid=1) INFO [model.py:733] Resolved architecture: LlamaForCausalLM",
    "(Worker pid=3) INFO [cpu_model_runner.py:68] Starting to load model /models/target...",
    "(Worker pid=3) INFO [cpu_model_runner.py:75] Loading drafter model...",
    "(EngineCore pid=2) INFO [kv_cache_utils.py:2327] CPU KV cache size: 262,144 tokens",
)


def main(host: str, port: int, mode: str, folder: Path) -> int:
    """Behave as `mode` says."""
    engine = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    (folder / "pids").write_text(f"{os.getpid()} {engine.pid}")
    print(*START_LINES, sep="\n", flush=True)
    if mode == "dies":
        print("RuntimeError: CUDA out of memory", "nanobind: leaked 4 instances!", sep="\n", flush=True)
        return 3
    if mode == "port-taken" and not (folder / "tried").exists():
        (folder / "tried").touch()
        print(
            f"OSError: [Errno 98] error while attempting to bind on address ('{host}', {port}): address already in use"
        )
        return 1
    if mode == "hangs":
        signal.pause()
    if mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _serve(host, port, folder)
    return 0


def _serve(host: str, port: int, folder: Path) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            running = folder / "running"
            count = running.read_text() if running.exists() else "0"
            page = f'# HELP x\nvllm:num_requests_running{{a="b"}} {count}\nvllm:num_requests_waiting 0\n'
            self.send_response(200)
            self.end_headers()
            self.wfile.write(page.encode() if self.path == "/metrics" else b"")

        def log_message(self, *_: object) -> None:
            """Nothing, as with --disable-uvicorn-access-log."""

    server = http.server.ThreadingHTTPServer((host, port), Handler)
    print("INFO:     Application startup complete.", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), sys.argv[3], Path(sys.argv[4])))

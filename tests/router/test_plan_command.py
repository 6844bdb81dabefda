"""`alpharoute plan`: what it prints, and how it ends."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml
from models_on_disk import folder_of
from typer.testing import CliRunner

from router.cli import app

run = CliRunner().invoke

PAGE = b"""alpharoute_decisions_total{pool="vanilla",router="r",task="other"} 10.0
alpharoute_decisions_total{pool="small",router="r",task="other"} 10.0
alpharoute_output_tokens_total{pool="vanilla",router="r",task="other"} 3000.0
alpharoute_output_tokens_total{pool="small",router="r",task="other"} 5000.0
alpharoute_time_per_output_token_seconds_count{pool="vanilla",router="r",task="other"} 10.0
alpharoute_time_per_output_token_seconds_sum{pool="vanilla",router="r",task="other"} 1.0
alpharoute_time_per_output_token_seconds_count{pool="small",router="r",task="other"} 10.0
alpharoute_time_per_output_token_seconds_sum{pool="small",router="r",task="other"} 1.0
"""


@pytest.fixture
def service() -> Iterator[str]:
    """Something that has a metrics page."""

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/metrics" else 404)
            self.end_headers()
            self.wfile.write(PAGE)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def _config(folder: Path, **small: object) -> str:
    """Four vanilla and four speculative replicas over one target."""
    target, draft = folder_of(folder, "llama-3.1-8b", "t"), folder_of(folder, "llama-3.2-1b", "d")
    shared = {"model": "llama", "target": str(target), "gpus": 1, "replicas": 4, "vllm": {"max_model_len": 4096}}
    speculative = {"drafter": str(draft), "method": "draft_model", "k_max": 4}
    pools = [{"name": "vanilla", **shared}, {"name": "small", **shared, **speculative, **small}]
    (folder / "settings.yaml").write_text(yaml.safe_dump({"pools": pools}))
    return str(folder / "settings.yaml")


def test_a_plan_that_can_run_ends_with_0(tmp_path: Path) -> None:
    """Each pool with what Ray reserves; its models examined for the GPUs there are."""
    result = run(app, ["plan", "-c", _config(tmp_path), "--nodes", "1", "--gpu-memory", "80GB", "--json"])
    assert result.exit_code == 0, result.output
    plan = json.loads(result.stdout)
    assert [pool["bundles"] for pool in plan["pools"]] == [[{"CPU": 1.0, "GPU": 1.0}]] * 2
    assert plan["problems"] == []
    assert set(plan["checks"]) == {"vanilla", "small"}
    assert all(check["refusals"] == [] for check in plan["checks"].values())


def test_a_plan_that_cannot_run_ends_with_1(tmp_path: Path) -> None:
    """Too few GPUs, and a pool whose drafter vLLM would refuse."""
    few = run(app, ["plan", "-c", _config(tmp_path), "--nodes", "1", "--gpus-per-node", "4"])
    assert few.exit_code == 1
    assert "the pools need 8 GPUs at the least, 1 nodes have 4" in few.stdout
    other = tmp_path / "other"
    other.mkdir()
    wrong = folder_of(other, "qwen2.5-0.5b", "wrong")
    refused = run(app, ["plan", "-c", _config(other, drafter=str(wrong)), "--gpu-memory", "80GB"])
    assert refused.exit_code == 1
    assert "vocab_size 128,256 for the target, 151,936 for the drafter" in refused.stdout.replace("\n", " ")


def test_the_mix_is_advised_from_traffic(tmp_path: Path, service: str) -> None:
    """Three eighths of the work is vanilla: three and five replicas in place of four and four."""
    result = run(app, ["plan", "-c", _config(tmp_path), "--url", service])
    assert "3 vanilla (38% of the work, 4 now), 5 small (62% of the work, 4 now)" in result.stdout


def test_what_cannot_be_read_ends_with_2(tmp_path: Path) -> None:
    """No settings; nobody at the address; a contradiction within a pool."""
    assert run(app, ["plan", "-c", "/nowhere.yaml"]).exit_code == 2
    nobody = run(app, ["plan", "-c", _config(tmp_path), "--url", "http://127.0.0.1:1"])
    assert nobody.exit_code == 2
    assert "alpharoute serve" in nobody.stderr
    folder = tmp_path / "c"
    folder.mkdir()
    wrong = run(app, ["plan", "-c", _config(folder, placement={"tensor_parallel": 4})])
    assert wrong.exit_code == 2
    assert "gpus must be tensor_parallel times pipeline_parallel, 4; it is 1" in wrong.stderr

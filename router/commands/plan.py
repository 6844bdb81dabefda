"""`alpharoute plan`: what a configuration deploys where, whether it can run, and the mix that traffic asks for."""

import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from engines.mix import PoolMix, advised_mix, traffic_of_metrics
from engines.plan import Cluster, DeploymentPlan, PoolPlan, deployment_plan
from engines.pool import DEMO, PoolSettings
from engines.preflight.errors import PreflightError
from engines.preflight.starting import StartCheck, check_pool
from router.commands.preflight import UNFIT, USAGE_ERROR, size_bytes
from router.config.check import API_KEY
from router.config.load import load_settings
from router.direct import open_url
from router.errors import SetupError


def plan(
    config: Annotated[Path | None, typer.Option("--config", "-c", help="A YAML file of settings.")] = None,
    nodes: Annotated[int | None, typer.Option(min=1, help="Machines with GPUs.")] = None,
    gpus_per_node: Annotated[int, typer.Option(min=1, help="GPUs of each.")] = 8,
    gpu_memory: Annotated[
        str | None, typer.Option(help="Memory of one GPU, as 80GB; checks every pool's models.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="A running service: advise the mix of pools from its traffic.")
    ] = None,
    key: Annotated[str, typer.Option(envvar=API_KEY, help="An API key that may read metrics.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what the settings deploy: replicas, GPUs, placement, vLLM's arguments; refuse what contradicts itself.

    Ends with 0 where it can run, 1 where it cannot, 2 where the settings cannot be read.
    """
    try:
        pools = load_settings(config).pools
        found = deployment_plan(pools, Cluster(nodes, gpus_per_node) if nodes else None)
        memory = size_bytes(gpu_memory) if gpu_memory else None
        checks = {pool.name: check_pool(pool, memory) for pool in pools if memory and _examinable(pool)}
        mix = _mix(pools, read_metrics(url, key)) if url else ()
    except (SetupError, PreflightError) as error:
        Console(stderr=True).print(Text(str(error), style="red"), soft_wrap=True)
        raise typer.Exit(USAGE_ERROR) from None
    if as_json:
        content = {**asdict(found), "checks": {name: asdict(check) for name, check in checks.items()}}
        content["mix"] = [asdict(one) for one in mix]
        sys.stdout.write(orjson.dumps(content, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        _show(found, checks, mix, asked=bool(url))
    if found.problems or any(check.refusals for check in checks.values()):
        raise typer.Exit(UNFIT)


def _examinable(pool: PoolSettings) -> bool:
    """Whether its models lie somewhere: the demo pair fits any GPU, and is built by who serves it."""
    return pool.engine == "vllm" and DEMO not in (pool.target, pool.drafter)


def read_metrics(url: str, key: str = "") -> str:
    """The text of a service's /metrics; raises SetupError where it does not answer, or not to this key."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        asked = urllib.request.Request(f"{url.rstrip('/')}/metrics", headers=headers)
        with open_url(asked, 10) as answer:
            return str(answer.read(), "utf-8")
    except urllib.error.HTTPError as error:
        error.close()
        raise SetupError(f"{url}/metrics answers {error.code}: set {API_KEY} where it wants a key.") from None
    except (OSError, ValueError) as error:
        raise SetupError(f"No Alpharoute answers at {url} ({error}). Start one with `alpharoute serve`.") from None


def _mix(pools: Sequence[PoolSettings], page: str) -> tuple[PoolMix, ...]:
    """The advice for each model that several pools serve."""
    traffic = traffic_of_metrics(page)
    by_model: dict[str, dict[str, int]] = {}
    for pool in pools:
        by_model.setdefault(pool.model, {})[pool.name] = pool.replicas
    return tuple(one for replicas in by_model.values() if len(replicas) > 1 for one in advised_mix(traffic, replicas))


def _show(found: DeploymentPlan, checks: dict[str, StartCheck], mix: Sequence[PoolMix], *, asked: bool) -> None:
    console = Console()
    table = Table("pool", "method", "replicas", "GPUs each", "bundles of a replica", "reserved by", "vLLM is told")
    for pool in found.pools:
        table.add_row(*_row(pool))
    console.print(table)
    for name, check in checks.items():
        for style, lines in (("red", check.refusals), ("yellow", check.warnings)):
            for line in lines:
                console.print(Text(f"pool {name!r}: {line}", style=style), soft_wrap=True)
    for style, lines in (("cyan", found.notes), ("red", found.problems)):
        for line in lines:
            console.print(Text(line, style=style), soft_wrap=True)
    if mix:
        said = ", ".join(f"{one.advised} {one.pool} ({one.share:.0%} of the work, {one.replicas} now)" for one in mix)
        console.print(f"Mix that the traffic asks for: {said}.", soft_wrap=True)
    elif asked:
        console.print("No advice on the mix: less than a minute of generation was seen, or no model has two pools.")


def _row(pool: PoolPlan) -> tuple[str, ...]:
    replicas = f"{pool.replicas}" if pool.replicas == pool.max_replicas else f"{pool.replicas}-{pool.max_replicas}"
    bundle = " ".join(f"{name}:{amount:g}" for name, amount in pool.bundles[0].items())
    bundles = f"{len(pool.bundles)} x {{{bundle}}}" if len(pool.bundles) > 1 else f"{{{bundle}}}"
    arguments = " ".join(pool.arguments) or "-"
    return pool.name, pool.method or "vanilla", replicas, f"{pool.gpus:g}", bundles, pool.reserved_by, arguments

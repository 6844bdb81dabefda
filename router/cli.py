"""The command line: `alpharoute`."""

import os
import subprocess
import sys
from enum import StrEnum
from itertools import takewhile
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.text import Text

from classifiers.commands import app as classifier_commands
from engines.calibration_sweep import Sweep
from engines.placement import Placement
from engines.pool import DEMO, PoolSettings
from router.commands.acceptance import acceptance
from router.commands.calibrate import Calibrated, calibrate, numbers, prompts_by_task
from router.commands.classifier import activate, rollback, versions
from router.commands.client import print_json, stdout
from router.commands.console import console as console_command
from router.commands.decisions import app as decision_commands
from router.commands.distill import app as distill_commands
from router.commands.engines import app as engine_commands
from router.commands.evaluate import evaluate
from router.commands.events import events
from router.commands.keys import app as key_commands
from router.commands.plan import plan
from router.commands.policy import app as policy_commands
from router.commands.preflight import preflight
from router.commands.top import top
from router.config.load import load_settings
from router.config.page import listed, settings_table
from router.config.settings import Settings, demo_pools, pair_of_pools
from router.console.place import own_place
from router.errors import SetupError
from router.version import VERSION

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False, help=__doc__)

for of_a_service in (versions, activate, rollback):
    classifier_commands.command()(of_a_service)
app.add_typer(classifier_commands, name="classifier")
app.add_typer(key_commands, name="keys")
app.add_typer(distill_commands, name="distill")
app.add_typer(policy_commands, name="policy")
app.add_typer(decision_commands, name="decisions")
app.add_typer(engine_commands, name="engines")
app.command()(acceptance)
app.command()(events)
app.command()(top)
app.command("console")(console_command)
app.command("preflight")(preflight)
app.command("evaluate")(evaluate)
app.command("plan")(plan)

console = Console(stderr=True)

USAGE_ERROR = 2
VISIBLE = "CUDA_VISIBLE_DEVICES"

ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="A YAML file of settings.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class EngineChoice(StrEnum):
    """What answers behind the router."""

    VLLM = "vllm"
    SIM = "sim"


def _tell_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"alpharoute {VERSION}\n")
        raise typer.Exit


@app.callback(help=__doc__)
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """What every command has."""


@app.command()
def serve(
    config: ConfigOption = None,
    engine: Annotated[EngineChoice, typer.Option(help="Real vLLM, or the simulator.")] = EngineChoice.VLLM,
    model: Annotated[str | None, typer.Option(help="Folder or hub id of a model in place of the demo pair.")] = None,
    draft: Annotated[str | None, typer.Option(help="Its drafter; n-gram speculation without one.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port of the API.")] = None,
) -> None:
    """Run everything on this machine: Redis, Ray, a vanilla and a speculative pool, and the router."""
    try:
        settings = local_settings(config, engine, model, draft, port)
        run_locally(settings)
    except SetupError as error:
        raise refused(error) from None


@app.command("settings")
def show_settings(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Print every setting: its value here and where that comes from, its default, its type and what it means."""
    try:
        settings = load_settings(config)
    except SetupError as error:
        raise refused(error) from None
    if as_json:
        said = orjson.dumps({"settings": listed(settings)}, option=orjson.OPT_INDENT_2).decode()
        sys.stdout.write(f"{said}\n")
    else:
        stdout.print(settings_table(settings, stdout.width))


@app.command("calibrate")
def calibrate_engine(
    url: Annotated[str, typer.Argument(help="A speculative engine, asked directly.")],
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("calibration.yaml"),
    model: Annotated[str | None, typer.Option(help="The served model; default: the first it lists.")] = None,
    vanilla_url: Annotated[str | None, typer.Option(help="An engine of the same target without a drafter.")] = None,
    api_key: Annotated[str | None, typer.Option(envvar="ALPHAROUTE_ENGINE_KEY", help="The engine's key.")] = None,
    vanilla_api_key: Annotated[str | None, typer.Option(envvar="ALPHAROUTE_VANILLA_KEY", help="The other's.")] = None,
    drafter: Annotated[str, typer.Option(help="Name of the drafter in the file.")] = "drafter",
    method: Annotated[str, typer.Option(help="Its method, as in the pool's settings.")] = "draft_model",
    batches: Annotated[str, typer.Option(help="Batch sizes.")] = "1,2,4,8",
    ks: Annotated[str, typer.Option(help="Numbers of drafts.")] = "0,1,2,4",
    tokens: Annotated[int, typer.Option(min=8, help="Tokens of a timed answer.")] = 48,
    rounds: Annotated[int, typer.Option(min=1, help="Times that each batch is run.")] = 2,
    prompts: Annotated[
        Path | None, typer.Option(help='JSON lines of {"task", "prompt"}; default: demo prompts.')
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure an engine over batch sizes and k, and write the file that `python -m bench.policy` simulates."""
    try:
        sweep = Sweep(numbers(batches, "--batches"), numbers(ks, "--ks"), tokens, rounds)
        engine = Calibrated(url, model, vanilla_url, api_key, vanilla_api_key, drafter, method)
        found = calibrate(engine, prompts_by_task(prompts), sweep, out)
    except SetupError as error:
        console.print(f"[red]{error}[/]", highlight=False)
        raise typer.Exit(USAGE_ERROR) from None
    if as_json:
        print_json({"out": str(out), **found})
    console.print(f"{out}: {found['provenance']}", highlight=False, soft_wrap=True)


def local_settings(
    config: Path | None, engine: EngineChoice, model: str | None, draft: str | None, port: int | None
) -> Settings:
    """The settings of `alpharoute serve`: a file's, or the demo pools as the options change them."""
    if config is not None and (model or draft):
        raise SetupError("--config names the pools: leave out --model and --draft.")
    if draft is not None and model is None:
        raise SetupError("--draft needs --model: the drafter must share the model's tokenizer.")
    settings = load_settings(config)
    pools, listen = settings.pools, settings.listen
    if model is not None or "pools" not in settings.model_fields_set:
        pools = own_pools(model, draft)
    if engine is EngineChoice.SIM:
        simulated = {"engine": "simulator", "urls": (), "gpus": 0.0, "placement": Placement()}
        pools = tuple(pool.model_copy(update=simulated) for pool in pools)
    if port is not None:
        listen = listen.model_copy(update={"port": port})
    told = {
        name: value for name, value in (("pools", pools), ("listen", listen)) if value is not getattr(settings, name)
    }
    return settings.overridden(**told)


def own_pools(model: str | None, draft: str | None) -> tuple[PoolSettings, ...]:
    """A vanilla and a speculative pool over the user's model, or over the demo pair."""
    gpus = gpu_count()
    if model is None:
        return demo_pools(gpus)
    name = model.rstrip("/").rsplit("/", 1)[-1]
    return pair_of_pools(model=name, target=model, drafter=draft, gpus=gpus)


def gpu_count() -> int:
    """NVIDIA GPUs that this process may use, as their driver lists them."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return 0
    there, visible = sum(line.startswith("GPU ") for line in listed.splitlines()), os.environ.get(VISIBLE)
    if visible is None:
        return there
    # CUDA sees none behind the first that there cannot be.
    return min(there, len(list(takewhile(lambda one: one and one != "-1", map(str.strip, visible.split(","))))))


def run_locally(settings: Settings) -> None:
    """Start, say where it listens, and wait for Ctrl-C or SIGTERM; nothing is left running."""
    from router.local.interrupts import end_on_signals
    from router.local.progress import StartProgress
    from router.local.service import LocalService

    end_on_signals()
    build_demo(settings)
    service = LocalService(settings)
    try:
        with service:
            end_on_signals()  # again: Ray's start put handlers of its own in their place
            with StartProgress(console) as progress:
                service.wait(progress.show)
            console.print(greeting(service.url, settings, service.logs), highlight=False, soft_wrap=True)
            try:
                service.watch(lambda problem: console.print(f"[yellow]{problem}[/]", highlight=False))
            finally:
                console.print("Stopping; requests in flight may finish. Ctrl-C again cuts them off.", highlight=False)
    except KeyboardInterrupt:
        console.print("Stopped.")
    except SetupError as error:
        if service.logs is None:
            raise
        raise SetupError(f"{error}\nLogs: {service.logs}") from None


def build_demo(settings: Settings) -> None:
    """The demo pair, where a pool asks for it and it is not cached yet; with a progress bar.

    SetupError where it cannot be built.
    """
    if any(pool.engine == "vllm" and DEMO in (pool.target, pool.drafter) for pool in settings.pools):
        from engines.demo.build import DemoBuildError, build_demo_pair, default_folder
        from engines.progress import reporting

        try:
            with reporting() as progress:
                build_demo_pair(default_folder(), progress=progress)
        except DemoBuildError as error:
            raise SetupError(str(error)) from None


def greeting(url: str, settings: Settings, logs: Path | None = None) -> str:
    """Where it listens and what to try first."""
    message = '{"role": "user", "content": "Write a SQL query: list the users with age above 40."}'
    key = ' -H "authorization: Bearer $ALPHAROUTE_KEY"' if settings.auth.needs_keys else ""
    own = own_place(settings)
    console_url = url if own is None else f"http://{own.host}:{own.port}"
    return (
        f"\n[bold]Alpharoute listens on {url}[/]\n\n"
        f"  curl -i {url}/v1/chat/completions -H 'content-type: application/json'{key} \\\n"
        f'    -d \'{{"model": "{settings.pools[0].model}", "messages": [{message}]}}\'\n\n'
        + (f"  console: {console_url}/console\n\n" if settings.console.enabled else "")
        + (f"  logs: {logs}\n\n" if logs else "")
        + "Ctrl-C ends it."
    )


def refused(error: SetupError) -> typer.Exit:
    """Say what is wrong; the exit of a command that was asked for what cannot be."""
    console.print(Text(str(error), style="red"), soft_wrap=True)
    return typer.Exit(USAGE_ERROR)


if __name__ == "__main__":
    app()

"""`alpharoute preflight`: check a target, a drafter and the memory they need before they cost a GPU-hour."""

import re
import sys
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from engines.demo.build import DemoBuildError, build_demo_pair, default_folder
from engines.pool import DEMO
from engines.preflight.errors import PreflightError
from engines.preflight.findings import Level
from engines.preflight.memory import Plan, Verdict
from engines.preflight.report import ModelFacts, Report, Wanted, examine
from engines.progress import reporting

GIB = 1024**3
USAGE_ERROR, UNFIT = 2, 1
STYLE = {Level.OK: "green", Level.NOTE: "cyan", Level.WARNING: "yellow", Level.REFUSAL: "red"}
LARGEST = 1024 * GIB
UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": GIB, "T": 1024**4}


def preflight(
    target: Annotated[str, typer.Argument(help="Folder or hub id of the target, or 'demo'.")],
    draft: Annotated[str | None, typer.Argument(help="Folder or hub id of the drafter.")] = None,
    method: Annotated[str | None, typer.Option(help="Speculation method as vLLM names it.")] = None,
    gpu_memory: Annotated[str, typer.Option(help="Memory of one GPU; 80GB is what its maker calls 80 GB.")] = "80GB",
    tensor_parallel: Annotated[int, typer.Option(min=1, help="GPUs that share each layer.")] = 1,
    pipeline_parallel: Annotated[int, typer.Option(min=1, help="Stages that share the layers.")] = 1,
    draft_tensor_parallel: Annotated[int | None, typer.Option(min=1, help="GPUs of the drafter: 1 or all.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Requests at a time (max_num_seqs).")] = 8,
    context: Annotated[int, typer.Option(min=1, help="Longest context in tokens (max_model_len).")] = 4096,
    k: Annotated[int, typer.Option(min=1, help="Drafts per step.")] = 4,
    dtype: Annotated[str, typer.Option(help="As vLLM's --dtype.")] = "auto",
    kv_dtype: Annotated[str, typer.Option(help="As vLLM's --kv-cache-dtype.")] = "auto",
    quantization: Annotated[str | None, typer.Option(help="As vLLM's --quantization.")] = None,
    draft_quantization: Annotated[str | None, typer.Option(help="The same for the drafter.")] = None,
    utilization: Annotated[float, typer.Option(min=0.05, max=1.0, help="As vLLM's option.")] = 0.92,
    step_tokens: Annotated[int | None, typer.Option(min=1, help="max_num_batched_tokens.")] = None,
    heterogeneous: Annotated[bool, typer.Option(help="use_heterogeneous_vocab is set.")] = False,
    training: Annotated[bool, typer.Option(help="Training a head is affordable.")] = False,
    repetitive: Annotated[bool, typer.Option(help="Outputs repeat prompts or each other.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check a target and a drafter: tokenizers, sizes, context, memory, method. Nothing is loaded.

    Ends with 0 where it fits, 1 where vLLM would refuse or the batch does not fit, 2 where it cannot be checked.
    """
    try:
        if draft_tensor_parallel not in (None, 1, tensor_parallel):
            raise PreflightError(
                f"--draft-tensor-parallel is {draft_tensor_parallel!r}: vLLM takes 1 or the target's {tensor_parallel}"
            )
        plan = Plan(
            gpu_bytes=size_bytes(gpu_memory),
            batch=batch,
            context=context,
            k=k,
            tensor_parallel=tensor_parallel,
            pipeline_parallel=pipeline_parallel,
            draft_tensor_parallel=draft_tensor_parallel,
            utilization=utilization,
            kv_dtype=kv_dtype,
            step_tokens=step_tokens,
        )
        wanted = Wanted(
            *_resolved(target, draft),
            method=method,
            dtype=dtype,
            quantization=quantization,
            draft_quantization=draft_quantization,
            heterogeneous=heterogeneous,
            training=training,
            repetitive=repetitive,
        )
        report = examine(wanted, plan)
    except (PreflightError, DemoBuildError) as error:
        Console(stderr=True).print(Text(str(error), style="red"), soft_wrap=True)
        raise typer.Exit(USAGE_ERROR) from None
    if as_json:
        sys.stdout.write(orjson.dumps(plain(asdict(report)), option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        show(report, Console())
    if report.refusals or report.account.verdict is Verdict.NOT:
        raise typer.Exit(UNFIT)


def size_bytes(text: str) -> float:
    """Bytes of "80GB", "24 GiB" or "81559MiB"; a GPU's GB are 1024³ bytes, as their makers count them."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", text, re.IGNORECASE)
    if found is None or float(found[1]) <= 0:
        raise PreflightError(f"--gpu-memory {text!r} is no size: write it as 80GB, 24GiB or 81559MiB")
    size = float(found[1]) * UNITS[found[2].upper()]
    if size > LARGEST:
        raise PreflightError(f"--gpu-memory {text!r} is more than any GPU has: write it as 80GB, 24GiB or 81559MiB")
    if size < GIB:
        raise PreflightError(f"--gpu-memory {text!r} is below 1 GiB: write the unit too, as in 80GB")
    return size


def _resolved(target: str, draft: str | None) -> tuple[str, str | None]:
    """The demo pair's folders in place of the word, trained first where it is not there."""
    if DEMO not in (target, draft):
        return target, draft
    with reporting() as progress:
        pair = build_demo_pair(default_folder(), progress=progress)
    return str(pair.target) if target == DEMO else target, str(pair.draft) if draft == DEMO else draft


def plain(value: Any) -> Any:
    """The report as JSON has it: enumerations by value, paths as text."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.value if isinstance(value, Enum) else str(value) if isinstance(value, Path) else value


def show(report: Report, console: Console) -> None:
    """The report as tables."""
    console.print(_models(report))
    findings = Table("", "check", "found", box=None, padding=(0, 1))
    for finding in report.findings:
        findings.add_row(Text(finding.level, style=STYLE[finding.level]), finding.check, finding.text)
    console.print(findings)
    console.print(_memory(report))
    if report.payoffs:
        gains = ", ".join(f"α {gain.alpha:.1f}: k = {gain.k}, {gain.speedup:.2f}x" for gain in report.payoffs)
        console.print(f"A draft costs {report.cost:.3f} of a step. Best at one request: {gains}.", soft_wrap=True)
    advice = Table("method", "why", "measured", title="Worth trying, in this order", title_justify="left")
    for suggestion in report.suggestions:
        advice.add_row(suggestion.method, suggestion.why, suggestion.measured)
    console.print(advice)


def _models(report: Report) -> Table:
    table = Table("", "target", "drafter", box=None, padding=(0, 1))
    columns = [model for model in (report.target, report.draft) if model is not None]
    for name, text in (
        ("model", lambda model: model.name),
        ("family", lambda model: f"{model.family}, {model.layers} layers"),
        ("parameters", _parameters),
        ("runs as", lambda model: model.dtype + (f", {model.quantization}" if model.quantization else "")),
        ("weights from", lambda model: model.weights),
        ("KV per token and GPU", lambda model: f"{model.kv_token_bytes / 1024:.1f} KiB"),
    ):
        table.add_row(name, *(text(model) for model in columns))
    return table


def _parameters(model: ModelFacts) -> str:
    used = "" if model.active_parameters == model.parameters else f", {model.active_parameters:,} per token"
    return f"{model.parameters:,}{used}"


def _memory(report: Report) -> Table:
    plan, both, alone = report.plan, report.account, report.without
    title = (
        f"One of {plan.tensor_parallel * plan.pipeline_parallel} GPU(s) of {plan.gpu_bytes / GIB:.1f} GiB, "
        f"{plan.batch} requests of {plan.context:,} tokens, k = {plan.k}"
    )
    table = Table("GiB", "with the drafter", "without", title=title, title_justify="left")
    for name, ours, theirs in (
        (f"usable ({plan.utilization:.0%})", both.usable, alone.usable),
        ("target's weights", both.weights, alone.weights),
        ("drafter's weights", both.draft_weights, alone.draft_weights),
        ("a step's tensors", both.activations, alone.activations),
        ("CUDA, NCCL, graphs", both.outside, alone.outside),
        ("left for the KV cache", both.kv_available, alone.kv_available),
        ("one request: target", both.kv_per_request, alone.kv_per_request),
        ("one request: drafter", both.draft_kv_per_request, alone.draft_kv_per_request),
    ):
        table.add_row(name, f"{ours / GIB:.2f}", f"{theirs / GIB:.2f}")
    table.add_row("tokens in the cache", f"{both.capacity_tokens:,}", f"{alone.capacity_tokens:,}")
    table.add_row("largest batch", f"{both.largest_batch:,}", f"{alone.largest_batch:,}")
    table.add_row("largest context", f"{both.largest_context:,}", f"{alone.largest_context:,}")
    table.add_row("verdict", both.verdict, alone.verdict)
    rule = f"{report.four_times_rule / GIB:.2f}"
    table.add_row("(a 4x rule for activations, whole batch)", rule, rule)
    return table

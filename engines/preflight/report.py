"""The whole check of a target, a drafter and a method: findings, accounts, advice."""

from dataclasses import dataclass, replace
from pathlib import Path

from engines.preflight.activations import four_times_rule_bytes
from engines.preflight.advice import Payoff, Situation, Suggestion, payoffs, suggestions
from engines.preflight.cache import caches, kv_bytes, token_bytes
from engines.preflight.errors import PreflightError
from engines.preflight.files import printable
from engines.preflight.findings import Finding, Level
from engines.preflight.headers import read_tensors
from engines.preflight.memory import Account, Model, Plan, Verdict, account, run_dtype
from engines.preflight.pair import HEADS, LAYERS_OF_A_HEAD, pair_findings, target_findings
from engines.preflight.parameters import (
    COUNTED,
    active_parameters,
    is_eagle,
    is_eagle3,
    mtp_parts,
    parameters,
    parts_of_shape,
    parts_of_tensors,
)
from engines.preflight.places import find_model
from engines.preflight.quantization import online
from engines.preflight.shape import Shape, read_config, shape_of
from engines.preflight.vocabulary import compare, read_vocabulary
from engines.vllm_methods import method_problem


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be checked: `target` and `draft` are folders or hub ids, `options` those of vLLM's command line."""

    target: str
    draft: str | None = None
    method: str | None = None
    dtype: str = "auto"
    quantization: str | None = None
    draft_quantization: str | None = None
    heterogeneous: bool = False
    training: bool = False
    repetitive: bool = False


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What was read of one model; `weights` says whether from safetensors headers or from config.json alone.

    `kv_token_bytes` is on one GPU of the plan.
    """

    name: str
    family: str
    parameters: int
    active_parameters: int
    layers: int
    context: int | None
    dtype: str
    quantization: str | None
    weights: str
    kv_token_bytes: float


@dataclass(frozen=True, slots=True)
class Report:
    """Everything `alpharoute preflight` says. `without` is the account without the drafter.

    `cost` is the weights a draft pass reads over those a target step reads; `four_times_rule` the bytes that a rule of
    thumb for activations would claim (see `activations`).
    """

    target: ModelFacts
    draft: ModelFacts | None
    method: str | None
    plan: Plan
    findings: tuple[Finding, ...]
    account: Account
    without: Account
    cost: float | None
    payoffs: tuple[Payoff, ...]
    suggestions: tuple[Suggestion, ...]
    four_times_rule: float

    @property
    def refusals(self) -> tuple[Finding, ...]:
        """Why vLLM would not start."""
        return tuple(finding for finding in self.findings if finding.level is Level.REFUSAL)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What runs badly."""
        return tuple(finding for finding in self.findings if finding.level is Level.WARNING)


def examine(wanted: Wanted, plan: Plan) -> Report:
    """Check everything that can be checked without loading a weight. PreflightError says what could not be read."""
    if wanted.method and wanted.method != "custom_class" and (why := method_problem(wanted.method, wanted.draft)):
        raise PreflightError(why)
    target_folder, target = _model(wanted.target, wanted.dtype, wanted.quantization)
    if wanted.draft is None or wanted.method == "custom_class":
        draft_folder, draft = None, None
    else:
        draft_folder, draft = _model(wanted.draft, wanted.dtype, wanted.draft_quantization)
        if wanted.dtype == "auto":  # vLLM runs the drafter with the target's type
            draft = replace(draft, dtype=target.dtype)
    method = wanted.method or ("draft_model" if draft is not None else None)
    if draft is not None and method is not None:
        draft = _as_head(draft, method)
    findings = [*target_findings(target.shape, method, plan.context), *_parallel(target.shape, plan)]
    if draft is not None and method is not None:
        hetero = wanted.heterogeneous
        findings += pair_findings(target.shape, draft.shape, method, plan.context, heterogeneous=hetero)
    if draft_folder is not None and method not in HEADS:
        vocabularies = read_vocabulary(target_folder), read_vocabulary(draft_folder)
        findings += compare(*vocabularies, heterogeneous=wanted.heterogeneous)
    with_draft = account(target, draft, plan, mtp=method == "mtp")
    findings.append(_memory_finding(with_draft, plan, certain=_counted(target) and (draft is None or _counted(draft))))
    cost = _cost(target.shape, draft, method)
    return Report(
        target=_facts(wanted.target, target, plan, plan.tensor_parallel),
        draft=None
        if draft is None or wanted.draft is None
        else _facts(wanted.draft, draft, plan, plan.draft_tensor_parallel or plan.tensor_parallel),
        method=method,
        plan=plan,
        findings=tuple(findings),
        account=with_draft,
        without=account(target, None, plan),
        cost=cost,
        payoffs=payoffs(cost) if cost is not None else (),
        suggestions=tuple(suggestions(_situation(wanted, target.shape, draft))),
        four_times_rule=four_times_rule_bytes(target.shape, target.dtype, batch=plan.batch, context=plan.context),
    )


def _situation(wanted: Wanted, target: Shape, draft: Model | None) -> Situation:
    sibling = draft is not None and wanted.method not in HEADS
    return Situation(target.mtp_layers, sibling, wanted.training, wanted.repetitive)


def _model(name: str, dtype: str, quantization: str | None) -> tuple[Path, Model]:
    folder = find_model(name)
    shape = shape_of(read_config(folder), str(folder / "config.json"))
    tensors = read_tensors(folder)
    if quantization and shape.quantization is None:
        shape = replace(shape, quantization=online(quantization))
    parts = parts_of_tensors(tensors, shape) if tensors else parts_of_shape(shape)
    return folder, Model(shape, parts, run_dtype(shape, dtype), "headers" if tensors else "config.json")


def _counted(model: Model) -> bool:
    """Whether its weights are those of its files, or of a family that is counted as vLLM loads it."""
    return model.source == "headers" or model.shape.family in COUNTED or is_eagle(model.shape)


def _as_head(draft: Model, method: str) -> Model:
    """An EAGLE head whose configuration names the architecture of its layer, under the name that vLLM gives it."""
    shape = draft.shape
    third = method == "eagle3" and shape.draft_vocabulary is not None
    if is_eagle(shape) or shape.medusa_heads or shape.layers > LAYERS_OF_A_HEAD or not (method == "eagle" or third):
        return draft
    shape = replace(shape, architecture=f"{method.title()}{shape.architecture}")
    return replace(draft, shape=shape, parts=draft.parts if draft.source == "headers" else parts_of_shape(shape))


def _facts(name: str, model: Model, plan: Plan, gpus: int) -> ModelFacts:
    shape = model.shape
    layers = caches(shape, kv_bytes(plan.kv_dtype, model.dtype), gpus)
    return ModelFacts(
        name=printable(name),
        family=shape.family,
        parameters=parameters(shape),
        active_parameters=active_parameters(shape),
        layers=shape.layers,
        context=shape.context,
        dtype=model.dtype,
        quantization=shape.quantization.method if shape.quantization else None,
        weights=model.source,
        kv_token_bytes=token_bytes(layers),
    )


def _cost(target: Shape, draft: Model | None, method: str | None) -> float | None:
    """Numbers a drafting pass reads over those of a target's step: its time where memory is what limits it.

    Heads without an output matrix of their own read the target's at each draft.
    """
    if method == "mtp":
        return sum(part.elements for part in mtp_parts(target)) / parameters(target)
    if draft is None:
        return None
    shares = is_eagle(draft.shape) and not is_eagle3(draft.shape)
    shared = target.vocabulary * target.hidden if shares else 0
    return (active_parameters(draft.shape) + shared) / active_parameters(target)


def _parallel(target: Shape, plan: Plan) -> list[Finding]:
    gpus = plan.tensor_parallel
    if plan.pipeline_parallel > target.layers:
        text = f"{target.layers} layers cannot be cut into {plan.pipeline_parallel:,} stages"
        return [Finding(Level.REFUSAL, "pipeline parallel", text)]
    if gpus > 1 and target.heads % gpus:
        text = f"{target.heads} attention heads cannot be spread over {gpus} GPUs: vLLM wants a divisor"
        return [Finding(Level.REFUSAL, "tensor parallel", text)]
    if 1 < target.kv_heads < gpus and target.latent is None:
        text = f"{target.kv_heads} key-value heads on {gpus} GPUs: each is kept {gpus // target.kv_heads} times"
        return [Finding(Level.NOTE, "tensor parallel", text)]
    if target.latent is not None and gpus > 1:
        text = "latent attention keeps its whole cache on each GPU: more GPUs add no room for it"
        return [Finding(Level.NOTE, "tensor parallel", text)]
    return []


def _memory_finding(found: Account, plan: Plan, *, certain: bool) -> Finding:
    if plan.kv_cache_bytes is None and found.weights + found.draft_weights > plan.gpu_bytes:
        size = (found.weights + found.draft_weights) / 1024**3
        gpu = plan.gpu_bytes / 1024**3
        text = f"the weights alone take {size:.1f} GiB of a GPU of {gpu:.1f} GiB: more GPUs or fewer bits"
        if not certain:
            return Finding(Level.WARNING, "memory", f"{text} (a guess: this family's layout is not known here)")
        return Finding(Level.REFUSAL, "memory", text)
    text = (
        f"{found.verdict}: {found.largest_batch:,} requests of {plan.context:,} tokens, {plan.batch} wanted; "
        f"up to {found.largest_context:,} tokens each for {plan.batch}"
    )
    level = {Verdict.FITS: Level.OK, Verdict.TIGHT: Level.WARNING, Verdict.NOT: Level.WARNING}[found.verdict]
    return Finding(level, "memory", text)

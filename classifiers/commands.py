"""`alpharoute classifier`: train on examples of your own, evaluate, and explain a label."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from classifiers.artefact import SHIPPED, Artefact, ArtefactError, load, save
from classifiers.building import FOLDS, build
from classifiers.calibration import Advance
from classifiers.corpus import corpus
from classifiers.examples import Example, read_examples, write_examples, write_labels
from classifiers.explaining import explain as explanation_of
from classifiers.label import Label
from classifiers.model import Model
from classifiers.prompt import read_prompt
from classifiers.scoring import Score, source_family, timed
from classifiers.scoring import score as score_of
from classifiers.standing import card_of, fallen
from classifiers.tables import plot_confusion, tables

app = typer.Typer(help="Train, evaluate and explain the task classifier.", no_args_is_help=True)

Files = Annotated[
    list[Path] | None, typer.Argument(help='JSON lines of {"task", "prompt", "tools"?, "system"?, "source"?}.')
]
Folder = Annotated[Path, typer.Option("--model", help="Folder of the classifier; default: the shipped one.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Folds = Annotated[int, typer.Option(min=2, help="Groups of sources that are left out in turn.")]

Labelled = Sequence[tuple[Example, Label]]

USAGE_ERROR = 2


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="Folder to write weights.npz and card.json to.")],
    files: Files = None,
    own: Annotated[bool, typer.Option("--own/--no-own", help="Add the project's own corpus.")] = True,
    folds: Folds = FOLDS,
    note: Annotated[str, typer.Option(help="A line for the card, such as the licence of the examples.")] = "",
    seed: Annotated[int, typer.Option(help="Another seed draws another corpus; the card names it.")] = 0,
    own_alone: Annotated[
        bool, typer.Option("--own-alone", help="Also score, for the card, what the corpus alone makes of the files.")
    ] = False,
    accept_worse: Annotated[
        bool, typer.Option("--accept-worse", help="Write over a better version in the folder.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train on the files (or folders of them) and the project's corpus; a task that only they name is a new task.

    A version in the folder stays where the new one scores worse than its card says.
    """
    with _failing():
        outside = _read(files or [])
        with _training() as advance:
            ours = corpus(seed) if own else []
            built = build(ours, outside, folds=folds, advance=advance)
            alone = {"scores_of_own_corpus_alone": asdict(_alone(ours, outside, advance))} if own_alone else {}
        if not accept_worse:
            _refuse_worse(built.score, out)
        digest = save(built.weights, {**built.card, "corpus_seed": seed, **alone, "note": note}, out)
    _show(built.score, as_json, sha256=digest)
    if not as_json:
        typer.echo(f"Scores are of sources left out of training. Wrote {out} (SHA-256 {digest}).")


@app.command()
def evaluate(
    files: Files = None,
    folder: Folder = SHIPPED,
    leave_source_out: Annotated[
        bool, typer.Option("--leave-source-out", help="Label each source by a model that never saw it.")
    ] = False,
    own_only: Annotated[
        bool, typer.Option("--own-only", help="Label by a model trained on the project's corpus alone.")
    ] = False,
    folds: Folds = FOLDS,
    plot: Annotated[Path | None, typer.Option(help="Also draw the confusion matrix to this file.")] = None,
    labels: Annotated[
        Path | None, typer.Option(help='Also write a line of {"task", "likely"} for each prompt to this file.')
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score a classifier on labelled prompts: F1, calibration, confusion, sources and time.

    Without files, the project's own corpus is scored, family by family left out.
    """
    with _failing():
        examples = _read(files or [])
        if leave_source_out or own_only or not files:
            with _training() as advance:
                score, labelled = _unseen(examples, own_only, folds, advance)
        else:
            score, labelled = _of_version(load(folder), examples)
        _show(score, as_json)
        if labels:
            write_labels(labels, labelled)
        if plot:
            plot_confusion(score, plot)


@app.command()
def explain(
    text: Annotated[str, typer.Argument(help="The prompt, a request body as JSON, or - to read either from stdin.")],
    folder: Folder = SHIPPED,
    as_json: AsJson = False,
) -> None:
    """Say which task a prompt is given, how probable the others are, and what spoke for it."""
    with _failing():
        found = explanation_of(
            Model(load(folder).weights), read_prompt(_body(sys.stdin.read() if text == "-" else text))
        )
    if as_json:
        typer.echo(json.dumps(asdict(found), ensure_ascii=False))
        return
    typer.echo(f"{found.label.task} ({found.label.confidence:.3f}, by {found.label.source}), then {found.runner_up}")
    for reason in found.reasons:
        typer.echo(f"{reason.weight:+8.3f}  {reason.block:<8} {reason.feature!r}")


@app.command(name="corpus")
def write_corpus(
    out: Annotated[Path, typer.Argument(help="File to write, as JSON lines.")],
    seed: Annotated[int, typer.Option(help="Another seed draws other prompts.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Write the project's own labelled prompts to a file."""
    with _failing():
        written = write_examples(out, corpus(seed))
    typer.echo(json.dumps({"out": str(out), "prompts": written}) if as_json else f"{written} prompts in {out}")


def _unseen(examples: list[Example], own_only: bool, folds: int, advance: Advance) -> tuple[Score, Labelled]:
    """The score of the examples by models that did not see their sources; of the own families without examples."""
    own = corpus()
    if own_only and examples:
        return _scored(_of_own(own, advance), examples)
    built = build(own, examples, folds=folds, advance=advance)
    return timed(built.score, Model(built.weights), examples or own[::10]), built.unseen


def _alone(own: list[Example], outside: list[Example], advance: Advance) -> Score:
    """The score of the outside examples by a classifier of the own ones, which saw none of them."""
    if not own or not outside:
        raise ValueError("--own-alone needs files to score, and the project's own corpus")
    model = _of_own(own, advance)
    return score_of(outside, [model.classify(example.prompt) for example in outside])


def _of_own(own: list[Example], advance: Advance) -> Model:
    return Model(build(own, [], folds=FOLDS, advance=advance).weights)


def _refuse_worse(found: Score, folder: Path) -> None:
    if lost := fallen(found, card_of(folder)):
        raise ValueError(
            f"the version in {str(folder)!r} is better and stays: {'; '.join(lost)}. --accept-worse writes over it"
        )


def _scored(model: Model, examples: list[Example]) -> tuple[Score, Labelled]:
    labels = [model.classify(example.prompt) for example in examples]
    return timed(score_of(examples, labels), model, examples), list(zip(examples, labels, strict=True))


def _of_version(artefact: Artefact, examples: list[Example]) -> tuple[Score, Labelled]:
    data = artefact.card.get("data")
    trained = data.get("outside_sources", {}) if isinstance(data, dict) else {}
    seen = sorted({source_family(example.source) for example in examples} & set(trained))
    if seen:
        typer.echo(
            f"warning: this classifier was trained on {len(seen)} of these sources ({', '.join(seen[:5])}, …): "
            "the scores flatter it; use --leave-source-out",
            err=True,
        )
    return _scored(Model(artefact.weights), examples)


def _read(paths: list[Path]) -> list[Example]:
    """The examples of all files; a file that is not there, or none in any, is a wrong call."""
    if missing := [path for path in paths if not path.exists()]:
        raise _refused(f"{_named(missing)} is not there")
    found = [example for path in paths for example in read_examples(path)]
    if paths and not found:
        raise _refused(f"no examples in {_named(paths)}")
    return found


def _named(paths: list[Path]) -> str:
    return ", ".join(repr(str(path)) for path in paths)


def _refused(problem: str) -> typer.Exit:
    typer.echo(f"error: {problem}", err=True)
    return typer.Exit(USAGE_ERROR)


def _body(text: str) -> object:
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    return body if isinstance(body, dict) else {"prompt": text}


def _show(score: Score, as_json: bool, **more: str) -> None:
    if as_json:
        typer.echo(json.dumps({**asdict(score), **more}, ensure_ascii=False))
    else:
        Console().print(tables(score))


@contextmanager
def _training() -> Iterator[Advance]:
    """What the trainings advance on stderr, seen before the first has ended: a bar on a terminal, else lines."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda done, of: typer.echo(f"training {done}/{of}", err=True)
        return
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)


@contextmanager
def _failing() -> Iterator[None]:
    """What the operator can mend is one line on stderr and exit code 1."""
    try:
        yield
    except (ArtefactError, ModuleNotFoundError, OSError, ValueError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error

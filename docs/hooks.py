"""What the site has beyond the pages of this folder: reference pages made from the code, and READMEs from elsewhere."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any, get_args

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from policies.document import Document
from router.config.kinds import kind_of
from router.config.settings import Settings
from router.openapi import openapi_document

ROOT = Path(__file__).parents[1]
ELSEWHERE = {
    "helm/alpharoute/README.md": "reference/chart.md",
    "bench/results/policy/README.md": "results/policy.md",
    "engines/demo/README.md": "demo-pair.md",
    "CONTRIBUTING.md": "contributing.md",
}
"""Pages that lie beside what they describe, and where the site has them."""

LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in this folder."""
    made = {
        "reference/settings.md": _page("Settings", _models(Settings)),
        "reference/policy.md": _page("The policy document", _models(Document)),
        "reference/api.md": _page("Routes", _routes()),
        "reference/cli.md": _commands(),
        **{place: (ROOT / source).read_text() for source, place in ELSEWHERE.items()},
    }
    for place, text in made.items():
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Let links lead to where the site has their targets; what it does not have is named instead."""
    origin = _origin(page.file.src_uri)

    def mended(link: re.Match[str]) -> str:
        picture, text, target, anchor = link.groups()
        aim = normpath(str(PurePosixPath(origin).parent / target))
        place = ELSEWHERE.get(aim) or (aim.removeprefix("docs/") if aim.startswith("docs/") else None)
        if aim == "README.md":
            place = "index.md"
        if place is None:
            return f"{text.strip('`')} (`{aim}`)" if text.strip("`") != aim else f"`{aim}`"
        return f"{picture}[{text}]({relpath(place, PurePosixPath(page.file.src_uri).parent)}{anchor or ''})"

    return LINK.sub(mended, markdown)


def _origin(place: str) -> str:
    """Where in the repository a page of the site comes from."""
    return next((source for source, at in ELSEWHERE.items() if at == place), f"docs/{place}")


def _page(title: str, lines: Iterator[str]) -> str:
    return "\n".join([f"# {title}", "", *lines, ""])


def _models(root: type[BaseModel]) -> Iterator[str]:
    """A table for each model that can be reached from `root`, in the order in which they come up."""
    waiting, seen = [root], {root}
    while waiting:
        model = waiting.pop(0)
        yield f"## {model.__name__}\n\n{' '.join((model.__doc__ or '').split())}\n"
        yield "| field | type | default | |\n|---|---|---|---|"
        for name, info in model.model_fields.items():
            inner = list(_inside(info.annotation))
            waiting += [found for found in inner if found not in seen]
            seen |= set(inner)
            default = "required" if info.is_required() else f"`{_brief(info.get_default(call_default_factory=True))}`"
            yield f"| `{name}` | {_type(info)} | {default} | {' '.join((info.description or '').split())} |"
        yield ""


def _inside(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _inside(argument)


def _type(info: FieldInfo) -> str:
    annotation = info.annotation
    found = list(_inside(annotation))
    if found:
        links = ", ".join(f"[{model.__name__}](#{model.__name__.lower()})" for model in found)
        return links if annotation in found else f"{_outer(annotation)} of {links}"
    return f"`{kind_of(info)}`".replace("|", "\\|")


def _outer(annotation: Any) -> str:
    return str(getattr(annotation, "__origin__", annotation)).replace("<class '", "").replace("'>", "").split(".")[-1]


def _brief(value: object) -> str:
    """A default in a cell: models are described in their own table."""
    if isinstance(value, BaseModel):
        return "{}"
    if isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        return "the demo pools"
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text.replace("|", "or") or '""'


def _routes() -> Iterator[str]:
    yield "Generated from the document that a service answers with at `GET /openapi.json`.\n"
    yield "| method | path | |\n|---|---|---|"
    for path, methods in json.loads(openapi_document({}))["paths"].items():
        for method, what in methods.items():
            yield f"| {method.upper()} | `{path}` | {what.get('summary', '')} |"


def _commands() -> str:
    """What typer says of every command; a process of its own, as its documented way to do this is a command."""
    command = [sys.executable, "-m", "typer", "router.cli", "utils", "docs", "--name", "alpharoute"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    lower = re.sub(r"^(#+) ", r"#\1 ", done.stdout, flags=re.MULTILINE)
    return lower.replace("## `alpharoute`", "# Command line", 1)

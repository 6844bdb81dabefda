"""Write the chart's README from values.yaml: `python helm/generators/readme.py` after a value has changed.

A value is described by the comment above it that begins with `# --`; its default is what the file says.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[1] / "alpharoute"

_KEY = re.compile(r"^(?P<indent> *)(?P<name>[A-Za-z][\w]*):")
_LONGEST = 100

HEAD = """# alpharoute

{description} Kubernetes {kubernetes}, KubeRay 1.5.1 or newer.

```bash
helm install demo helm/alpharoute -n llm --create-namespace -f helm/alpharoute/values-cpu-demo.yaml
```

[docs/kubernetes.md](../../docs/kubernetes.md) is the guide: installing, upgrading, policies, capacity, runbooks.

| values file | what it sets up |
|---|---|
{files}

## Values

Names that are not below are refused, and so are values that contradict each other. Written by
`python helm/generators/readme.py`; edit values.yaml.

| value | default | |
|---|---|---|
"""


@dataclass(frozen=True, slots=True)
class Value:
    """One documented value: its path, its default as JSON, what it means."""

    path: str
    default: str
    about: str


def values() -> Iterator[Value]:
    """Every documented value, in the file's order."""
    text = (CHART / "values.yaml").read_text()
    defaults = yaml.safe_load(text)
    path: list[str] = []
    about: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("# -- "):
            about = [stripped.removeprefix("# -- ")]
        elif stripped.startswith("#") and about:
            about.append(stripped.removeprefix("# "))
        elif key := _KEY.match(line):
            path = [*path[: len(key["indent"]) // 2], key["name"]]
            if about:
                yield Value(".".join(path), _default(defaults, path), " ".join(about))
            about = []
        else:
            about = []


def _default(defaults: Any, path: list[str]) -> str:
    for name in path:
        defaults = defaults[name]
    text = json.dumps(defaults, ensure_ascii=False)
    return text if len(text) <= _LONGEST else "see values.yaml"


def _files() -> str:
    rows = []
    for file in sorted(CHART.glob("values-*.yaml")):
        comment = [line[2:] for line in file.read_text().splitlines()[:3] if line.startswith("# ")]
        rows.append(f"| [{file.name}]({file.name}) | {' '.join(comment)} |")
    return "\n".join(rows)


def written() -> str:
    """The README's text."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    kubernetes = chart["kubeVersion"].removeprefix(">=").removesuffix(".0-0") + " or newer"
    head = HEAD.format(description=chart["description"], kubernetes=kubernetes, files=_files())
    rows = [f"| `{value.path}` | `{value.default}` | {_cell(value.about)} |" for value in values()]
    return head + "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    (CHART / "README.md").write_text(written())

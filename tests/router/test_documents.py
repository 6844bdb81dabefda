"""What the documents show is what the product takes."""

import re
from pathlib import Path

import pytest

from router.config.load import load_settings

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("**/*.md"), *ROOT.glob("*/README.md")])
YAML = re.compile(r"^```yaml\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#]+)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_settings_in_documents_are_valid(document: Path, tmp_path: Path) -> None:
    """Every block of YAML loads as settings."""
    for number, block in enumerate(YAML.findall(document.read_text())):
        file = tmp_path / f"{number}.yaml"
        file.write_text(block)
        load_settings(file)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    """Every link to a file of the repository has one at its end."""
    for target in LINK.findall(document.read_text()):
        assert (document.parent / target).exists(), f"{target!r} is not there"


def test_the_readme_has_an_example() -> None:
    """The test above is not about nothing."""
    assert YAML.findall((ROOT / "README.md").read_text())

"""Settings: one file and the environment, every mistake named."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from router.errors import SetupError
from router.settings import Settings, load_settings
from router.settings_page import masked, rows


def _file(folder: Path, text: str) -> Path:
    file = folder / "alpharoute.yaml"
    file.write_text(text)
    return file


def test_a_file_and_the_environment_make_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the file says holds, unless a variable says otherwise; the rest is default."""
    monkeypatch.setenv("ALPHAROUTE_LISTEN__PORT", "9001")
    settings = load_settings(_file(tmp_path, "listen: {port: 9000}\nlimits: {body_bytes: 2048}\n"))
    assert (settings.listen.port, settings.limits.body_bytes) == (9001, 2048)
    assert settings.listen.host == "127.0.0.1"
    assert [pool.name for pool in settings.pools] == ["vanilla", "draft"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("listn: {port: 1}", ("listn", "'listen'")),
        ("listen: {prot: 1}", ("listen.prot", "'port'")),
        ("listen: {port: 70000}", ("listen.port", "70000", "65535")),
        ("limits: {body_s: never}", ("limits.body_s", "'never'", "number")),
        ("policy: {kill_swich: true}", ("policy.kill_swich", "'kill_switch'")),
        ("pools: []", ("pools", "at least 1")),
        ("pools: [{name: a}, {name: a}]", ("'a'", "twice")),
        ("pools: [{name: A B}]", ("pools.0.name", "'A B'")),
        ("pools: [{name: a, k_max: 3}]", ("method and k_max", "'a'")),
        ("pools: [{name: a, k_max: 3, method: eagle}]", ("needs a drafter",)),
        ("pools: [{name: a, engine: url}]", ("urls",)),
        ("pools: [{name: a, engine: url, urls: ['10.0.0.1:80']}]", ("urls", "http://")),
        ("- a list", ("mapping", "list")),
        ("a: [", ("not YAML",)),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed(tmp_path: Path, text: str, said: tuple[str, ...]) -> None:
    """The error has the path, the value and the nearest right name."""
    with pytest.raises(SetupError) as error:
        load_settings(_file(tmp_path, text))
    for part in said:
        assert part in str(error.value)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    """Not a traceback: the path and the system's reason."""
    with pytest.raises(SetupError, match=r"none\.yaml.*No such file"):
        load_settings(tmp_path / "none.yaml")


def test_every_setting_is_listed_with_its_meaning() -> None:
    """`alpharoute settings` shows each leaf once; a setting without a description is a gap in the documentation."""
    listed = rows(Settings())
    assert len({row.path for row in listed}) == len(listed)
    assert {"listen.port", "redis.url", "pools[0].vllm.max_model_len", "policy.kill_switch"} <= {r.path for r in listed}
    assert [row.path for row in listed if not row.about] == []


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("embedded", "embedded"),
        ("redis://10.0.0.5:6379/0", "redis://10.0.0.5:6379/0"),
        ("rediss://user:p%40ss@host/0", "rediss://user:***@host/0"),
        ("hunter2", "**********"),
    ],
)
def test_passwords_are_not_shown(url: str, shown: str) -> None:
    """A URL is shown without its password."""
    assert masked(SecretStr(url)) == shown

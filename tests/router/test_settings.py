"""Settings: one file and the environment, every mistake named."""

import json
import pickle
import re
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, create_model
from rich.console import Console

from router.api.head import segment
from router.cli import EngineChoice, local_settings
from router.config.kinds import kind_of
from router.config.load import load_settings
from router.config.origins import Origins
from router.config.page import rows, settings_table
from router.config.settings import Limits, Settings
from router.errors import SetupError


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


FILE = """
listen: {port: 9000}
router: {sync_s: 0.5, retries: 1}
limits: {segments: [batch]}
pools: [{name: one}, {name: two, method: ngram, k_max: 3}]
policy: {tasks: {other: {k: 2}}, rules: [{then: {k: 3}}]}
"""


def test_each_value_tells_where_it_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment over the file; of what a section leaves out, the default."""
    monkeypatch.setenv("ALPHAROUTE_ROUTER__SYNC_S", "0.3")
    monkeypatch.setenv("ALPHAROUTE_LIMITS__SEGMENTS", '["chat"]')
    settings = load_settings(_file(tmp_path, FILE), {"redis": {"url": "redis://h/0"}})
    told = {row.path: row.origin for row in rows(settings)}
    expected = {
        "listen.port": "file",
        "listen.host": "default",
        "router.sync_s": "environment",
        "router.retries": "file",
        "limits.segments": "environment",
        "redis.url": "command line",
        "redis.prefix": "default",
        "pools[0].name": "file",
        "pools[1].k_max": "file",
        "pools[1].replicas": "default",
        "policy.tasks": "file",
        "policy.rules[0].then.k.min": "file",
        "policy.kill_switch": "default",
    }
    assert {path: told[path] for path in expected} == expected


def test_pools_of_the_environment_leave_nothing_of_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list is replaced as a whole, and so is what is said of it."""
    monkeypatch.setenv("ALPHAROUTE_POOLS", '[{"name": "a"}, {"name": "b"}]')
    told = {row.path: row.origin for row in rows(load_settings(_file(tmp_path, FILE)))}
    assert (told["pools[1].name"], told["pools[1].k_max"]) == ("environment", "default")


def test_where_values_come_from_reaches_the_routers() -> None:
    """Ray Serve hands settings on as a pickle."""
    settings = load_settings(None, {"listen": {"port": 1234}})
    assert pickle.loads(pickle.dumps(settings)).origins == settings.origins != Origins()


def test_the_table_is_grouped_and_leaves_room_on_a_narrow_screen() -> None:
    """Each section under its name and meaning, with the types where there is room for them."""
    for columns, has_types in ((200, True), (100, False)):
        console = Console(width=columns, file=StringIO(), record=True)
        console.print(settings_table(Settings(), columns))
        said = console.export_text()
        assert re.search(r"│ router +│ .*The router", said)
        assert ("whole number" in said) is has_types
        assert all(row.path in said for row in rows(Settings()))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Annotated[int, Field(ge=1, lt=9)], "whole number from 1 below 9"),
        (Annotated[float, Field(gt=0)] | None, "number above 0 or unset"),
        (dict[str, tuple[Path, ...]], "mapping of text to list of path"),
        (Literal["a", "b"] | None, "one of a, b or unset"),
        (frozenset[str], "list of text"),
        (Limits, "Limits"),
    ],
)
def test_types_are_told_in_words(kind: Any, said: str) -> None:
    """As an operator reads them, with their bounds."""
    assert kind_of(create_model("Some", one=(kind, None)).model_fields["one"]) == said


def test_every_setting_is_listed_with_its_meaning() -> None:
    """`alpharoute settings` shows each leaf once; a setting without a description is a gap in the documentation."""
    listed = rows(Settings())
    assert len({row.path for row in listed}) == len(listed)
    assert {"listen.port", "redis.url", "pools[0].vllm.max_model_len", "policy.kill_switch"} <= {r.path for r in listed}
    assert [row.path for row in listed if not row.about] == []


@pytest.mark.parametrize(
    ("name", "value", "near"),
    [
        ("ALPHAROUTE_LISTEN_PORT", "9000", "ALPHAROUTE_LISTEN__PORT"),
        ("ALPHAROUTE_REDIS__URI", "redis://h/0", "ALPHAROUTE_REDIS__URL"),
        ("ALPHAROUTE_LIMTS__BODY_S", "3", "ALPHAROUTE_LIMITS__BODY_S"),
        ("ALPHAROUTE_LOGDIR", "/tmp", "ALPHAROUTE_LOG_DIR"),
        ("ALPHAROUTE_LISTEN__PORT__X", "1", "ALPHAROUTE_LISTEN__PORT"),
    ],
)
def test_an_unknown_variable_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str, near: str) -> None:
    """A misspelt variable would change nothing and say nothing: it is named, with the nearest right one."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SetupError) as error:
        load_settings()
    assert name in str(error.value)
    assert repr(near) in str(error.value)
    assert value not in str(error.value).replace(name, "").replace(near, "")


def test_variables_that_are_no_settings_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those a process reads elsewhere, those below a mapping, and those by which Kubernetes describes its Services."""
    for name, value in {
        "ALPHAROUTE_LOG_DIR": "/tmp/x",
        "ALPHAROUTE_CACHE": "/tmp/x",
        "alpharoute_limits__body_s": "9",
        "ALPHAROUTE_POLICY__TASKS__LEGAL_ANALYSIS__MODE": "vanilla",
        "ALPHAROUTE_PORT": "tcp://10.0.0.1:8000",
        "ALPHAROUTE_REDIS_SERVICE_HOST": "10.0.0.2",
        "ALPHAROUTE_REDIS_SERVICE_PORT": "6379",
        "ALPHAROUTE_REDIS_SERVICE_PORT_REDIS": "6379",
        "ALPHAROUTE_REDIS_PORT_6379_TCP_ADDR": "10.0.0.2",
    }.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.limits.body_s == 9
    assert settings.policy.tasks["legal_analysis"].mode == "vanilla"


def test_a_variable_that_is_no_json_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists and mappings are JSON there; what is not is an error with a name, not a traceback."""
    monkeypatch.setenv("ALPHAROUTE_POOLS", "[{")
    with pytest.raises(SetupError, match="pools"):
        load_settings()


def test_the_command_line_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An override holds whatever a variable says; without one the variable does."""
    pool = {"name": "env", "engine": "simulator"}
    monkeypatch.setenv("ALPHAROUTE_POOLS", json.dumps([pool]))
    assert [pool.name for pool in load_settings().pools] == ["env"]
    chosen = load_settings(None, {"pools": [{**pool, "name": "cli"}]})
    assert [pool.name for pool in chosen.pools] == ["cli"]
    assert [pool.name for pool in local_settings(None, EngineChoice.SIM, None, None, None).pools] == ["env"]
    own = local_settings(None, EngineChoice.SIM, "org/big", None, None).pools
    assert [pool.name for pool in own] == ["vanilla", "ngram"]


@pytest.mark.parametrize("ttl_s", [0.5, 1.0])
def test_an_engine_outlives_a_lost_heartbeat(tmp_path: Path, ttl_s: float) -> None:
    """A time to live of two heartbeats or less would remove engines at random."""
    with pytest.raises(SetupError, match="more than twice heartbeat_s"):
        load_settings(_file(tmp_path, f"router: {{heartbeat_ttl_s: {ttl_s}, heartbeat_s: 0.5}}"))


def test_requests_that_name_no_segment_are_always_allowed() -> None:
    """Whoever lists further segments does not thereby refuse everybody else."""
    assert Limits(segments=frozenset({"gold", "silver"})).segments == {"gold", "silver", "default"}
    assert segment({}, Limits(segments=frozenset({"gold"})).segments) == "default"

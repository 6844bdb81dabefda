"""Secrets: whatever shape a password has, no output has it."""

import json
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from typer.testing import CliRunner

from router.cli import app
from router.config.load import load_settings
from router.config.masking import masked, masked_url, shown
from router.config.page import rows
from router.config.settings import Settings
from router.errors import SetupError

PASSWORDS = st.text(
    st.characters(min_codepoint=33, max_codepoint=126) | st.sampled_from("äß€ /#?@:%&"), min_size=4, max_size=30
).filter(lambda text: len(set(text)) > 2)
URLS = (
    "redis://:{}@10.0.0.5:6379/0",
    "rediss://user:{}@host/0",
    "redis://{}@host",
    "redis+sentinel://user:{}@a:26379,b/main/0",
    "redis://host:6379/0?password={}",
    "redis://host:6379/0#{}",
    "unix://user:{}@/run/redis.sock?db=1",
    "http://user:{}@host:8000",
)


SAID = "The settings in are wrong: unknown setting, did you mean 'listen'? Value error, url must look like (not shown)"


def listed(settings: Settings) -> str:
    """All that `alpharoute settings` prints, as a table and as JSON."""
    return f"{rows(settings)} {json.dumps(shown(settings), ensure_ascii=False)}"


@settings(max_examples=300, deadline=None)
@given(password=PASSWORDS, url=st.sampled_from(URLS))
def test_a_url_is_shown_without_its_password(password: str, url: str) -> None:
    """Slashes, fragments, queries and at signs in it change nothing, encoded or not."""
    assume(password not in url.format("***"))
    for written in (password, quote(password, safe="")):
        assert password not in masked_url(url.format(written))
        assert written not in masked(SecretStr(url.format(written)))


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("embedded", "embedded"),
        ("redis://10.0.0.5:6379/0", "redis://10.0.0.5:6379/0"),
        ("unix:///run/redis.sock?db=2", "unix:///run/redis.sock?db=2"),
        ("redis+sentinel://a:26379,b:26379/main/0", "redis+sentinel://a:26379,b:26379/main/0"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("rediss://user:p%40ss@host/0", "rediss://***@host/0"),
        ("redis://:a/b@host:1/0", "redis://***@host:1/0"),
        ("redis://:a#b@host:1/0", "redis://***"),
        ("redis://secret@host", "redis://***@host"),
        ("redis://host?password=x", "redis://host?***"),
        ("redis://h#x", "redis://***"),
        ("hunter2", "***"),
    ],
)
def test_what_is_no_secret_is_shown(url: str, seen: str) -> None:
    """An operator still sees which server, and which database."""
    assert masked(SecretStr(url)) == seen


def test_arguments_that_name_a_secret_hide_it() -> None:
    """Values after such an option, joined or apart, are stars; others are shown."""
    arguments = (
        "--api-key",
        "one",
        "-two",
        "--hf-token=three",
        "--max-num-batched-tokens",
        "512",
        "--tokenizer",
        "org/t",
    )
    assert shown(arguments, "args") == [
        *("--api-key", "***", "-two", "--hf-token=***", "--max-num-batched-tokens", "512", "--tokenizer", "org/t")
    ]


def right(password: str) -> dict[str, object]:
    """Settings that hold the password wherever one may stand."""
    encoded = quote(password, safe="")
    vllm = {"env": {"HF_TOKEN": password}, "args": ["--api-key", password]}
    by_url = {"name": "b", "engine": "url", "api_key": password, "urls": [f"http://user:{encoded}@host"]}
    redis = {"url": f"redis://user:{encoded}@host/0", "password": password, "sentinel_password": password}
    return {"redis": redis, "pools": [{"name": "a", "vllm": vllm}, by_url]}


def wrong(password: str) -> list[dict[str, object]]:
    """Settings that are refused, with the password near what is wrong."""
    return [
        {**right(password), "listn": {}},
        {"redis": {"url": {"redis": password}}},
        {"redis": {"url": [password]}},
        {"redis": {"url": f"ftp://user:{password}@host"}},
        {"redis": {"url": f"redis://user:{password}@ho st/0"}},
        {"redis": {"url": f"redis://host/0?password={password}"}},
        {"redis": {"url": f"redis://user:{password}@host", "ca_file": "ca.pem"}},
        {"pools": [{"name": "b", "engine": "url", "urls": [f"ftp://user:{password}@host"]}]},
        {"pools": [{"name": "a", "api_key": {"x": password}}]},
        {"pools": [{"name": "a", "vllm": {"env": password}}]},
        {"pools": [{"name": "a", "vllm": {"env": {"A": [password]}}}]},
    ]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(password=PASSWORDS)
def test_no_password_is_printed(tmp_path: Path, password: str) -> None:
    """Neither by `settings`, as a table or JSON, nor by the errors about settings that are wrong."""
    file = tmp_path / "settings.yaml"
    assume(password not in f"{file} {listed(Settings.model_validate(right('-')))} {wrong('-')} {SAID}")
    file.write_text(yaml.safe_dump(right(password)))
    output = listed(load_settings(file))
    assert "HF_TOKEN" in output
    assert password not in output
    assert json.dumps(password)[1:-1] not in output
    for data in wrong(password):
        file.write_text(yaml.safe_dump(data))
        with pytest.raises(SetupError) as error:
            load_settings(file)
        assert password not in str(error.value)


def test_the_command_prints_what_may_be_shown(tmp_path: Path) -> None:
    """Both forms of `alpharoute settings`, and its refusal."""
    file = tmp_path / "settings.yaml"
    file.write_text("redis: {url: 'redis://me:hunter2@host/0'}\npools: [{name: a, vllm: {env: {HF_TOKEN: hunter2}}}]")
    for arguments in ([], ["--json"]):
        result = CliRunner().invoke(app, ["settings", "-c", str(file), *arguments], env={"COLUMNS": "300"})
        assert "hunter2" not in result.output
        assert "redis://***@host/0" in result.output
    file.write_text("redis: {url: 'redis://me:hunter2@ho st/0'}")
    refused = CliRunner().invoke(app, ["settings", "-c", str(file)])
    assert refused.exit_code == 2
    assert "hunter2" not in refused.output


def test_the_line_of_broken_yaml_is_not_quoted(tmp_path: Path) -> None:
    """Its place is said; the line may hold a password."""
    file = tmp_path / "settings.yaml"
    file.write_text("redis:\n  password: hunter2: [\n")
    with pytest.raises(SetupError, match="line 2") as error:
        load_settings(file)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("value", [12345, True, 1.5])
def test_a_secret_of_the_wrong_type_is_not_quoted(tmp_path: Path, value: object) -> None:
    """YAML reads a password of digits as a number: the error does not repeat it."""
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump({"redis": {"url": value}}))
    with pytest.raises(SetupError, match=r"redis\.url: \(not shown\)") as error:
        load_settings(file)
    assert str(value) not in str(error.value)

"""Where a model lies: a folder, a snapshot in the hub's cache, or its small files fetched now."""

import os
import re
from pathlib import Path

from engines.preflight.errors import PreflightError
from engines.preflight.files import unreadable

CONFIG = "config.json"
SMALL_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json"),
    *("merges.txt", "tokenizer.model", "chat_template.jinja", "generation_config.json"),
    *("model.safetensors.index.json", "hf_quant_config.json"),
)
"""What is fetched beside config.json, where the repository has it: never weights."""

HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")


def find_model(name: str) -> Path:
    """The folder with the model's configuration; hub ids may carry `@revision`.

    Raises PreflightError for GGUF files, folders without config.json, ids that are not cached and cannot be fetched,
    and what this user may not read.
    """
    path = _home(name)
    if name.lower().endswith(".gguf"):
        raise PreflightError(
            f"{name!r} is a GGUF file: give the folder or hub id of the safetensors model it was made from"
        )
    try:
        if path.is_dir() or name.startswith(("/", "./", "../", "~")):
            return _checked(path)
    except OSError as error:
        raise unreadable(path, error, "give a model's folder or its hub id") from None
    repository, _, revision = name.partition("@")
    if not HUB_ID.match(repository):
        raise PreflightError(f"{name!r} is neither a folder nor a hub id (organization/model, or with @revision)")
    return cached(repository, revision or "main") or _fetched(repository, revision or None)


def _home(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError:
        raise PreflightError(f"{name!r} names the home of a user that is not known here") from None


def cached(repository: str, revision: str) -> Path | None:
    """The snapshot of a hub id in the local cache; None where it is not there."""
    home = hub_cache() / f"models--{repository.replace('/', '--')}"
    commit = revision
    try:
        reference = home / "refs" / revision
        if reference.is_file():
            commit = reference.read_text().strip()
        snapshot = home / "snapshots" / commit
        return snapshot if (snapshot / CONFIG).is_file() else None
    except OSError as error:
        raise unreadable(home, error) from None


def hub_cache() -> Path:
    """Where the hub's client keeps what it fetched."""
    home = os.environ.get("HF_HOME", "~/.cache/huggingface")
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()


def _checked(folder: Path) -> Path:
    if not folder.is_dir():
        raise PreflightError(f"{str(folder)!r} is not a folder: give a model's folder or its hub id")
    if not (folder / CONFIG).is_file():
        if any(folder.glob("*.gguf")):
            raise PreflightError(
                f"{str(folder)!r} holds GGUF files: give the folder or hub id of the safetensors model they were made "
                "from"
            )
        raise PreflightError(f"{str(folder)!r} holds no {CONFIG}: not a Hugging Face model; download it whole")
    return folder


def _fetched(repository: str, revision: str | None) -> Path:
    """The small files of a hub id, fetched into the cache by the hub's own client."""
    advice = f"download it (`hf download {repository}`) or give a folder"
    try:
        from huggingface_hub import snapshot_download
    except ModuleNotFoundError:
        raise PreflightError(
            f"{repository!r} is not in {hub_cache()}, and huggingface_hub is not installed to fetch it; {advice}"
        ) from None
    try:
        return _checked(Path(snapshot_download(repository, revision=revision, allow_patterns=[CONFIG, *SMALL_FILES])))
    except (OSError, ValueError, RuntimeError) as error:  # the client's own errors are of these kinds
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise PreflightError(
            f"{repository!r} is not in {hub_cache()} and cannot be fetched ({type(error).__name__}: {why}); {advice}"
        ) from None

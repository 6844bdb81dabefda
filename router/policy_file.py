"""The routing policy in a file of its own, such as one of a mounted ConfigMap: taken up when it changes."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import yaml
from pydantic import ValidationError

from policies.document import Document
from policies.knowledge import Knowledge
from router.config.check import problem
from router.errors import SetupError
from router.observe.telemetry import Telemetry

logger = logging.getLogger("alpharoute.policy")

LOOK_S = 1.0
"""How often the file is looked at: one stat, of what a link points to, since the kubelet swaps links."""

Stamp = tuple[int, int, int]


def read_policy(file: Path) -> Document:
    """The policy in a YAML or JSON file; an empty one is all defaults.

    Raises SetupError with one line per problem: path, value, what is allowed.
    """
    try:
        found = yaml.safe_load(file.read_text())
    except OSError as error:
        raise SetupError(f"The policy file {str(file)!r} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SetupError(f"The policy file {str(file)!r} is not YAML: {error}") from None
    try:
        return Document.model_validate({} if found is None else found)
    except ValidationError as error:
        problems = "\n".join(f"  {problem(Document, detail)}" for detail in error.errors())
        raise SetupError(f"The policy in {file} is wrong:\n{problems}") from None


@contextlib.asynccontextmanager
async def policy_followed(
    file: Path | None, knowledge: Knowledge, telemetry: Telemetry, every_s: float = LOOK_S
) -> AsyncIterator[None]:
    """Keep the policy at what the file says for as long as the context lasts; without a file nothing is done."""
    if file is None:
        yield
        return
    stamp = _stamp(file)
    knowledge.document = read_policy(file)
    telemetry.policy_current.set(1)
    following = asyncio.create_task(_follow(file, stamp, knowledge, telemetry, every_s))
    try:
        yield
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def _follow(file: Path, seen: Stamp | None, knowledge: Knowledge, telemetry: Telemetry, every_s: float) -> None:
    """Look again and again; a file that is wrong is said once, and the policy in use stays."""
    while True:
        await asyncio.sleep(every_s)
        stamp = await asyncio.to_thread(_stamp, file)
        if stamp == seen:
            continue
        seen = stamp
        try:
            knowledge.document = await asyncio.to_thread(read_policy, file)
            telemetry.policy_current.set(1)
            logger.info("the policy in %s is in use", file)
        except SetupError as error:
            telemetry.policy_current.set(0)
            logger.warning("the policy in use stays: %s", error)


def _stamp(file: Path) -> Stamp | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size

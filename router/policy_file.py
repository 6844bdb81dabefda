"""The routing policy in a file of its own, such as one of a mounted ConfigMap: taken up when it changes."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path

from policies.document import Document
from router.errors import SetupError
from router.steering.errors import Invalid
from router.steering.pilot import Pilot
from router.steering.reading import read

logger = logging.getLogger("alpharoute.policy")

LOOK_S = 1.0
"""How often the file is looked at: one stat, of what a link points to, since the kubelet swaps links."""

Stamp = tuple[int, int, int]


def read_policy(file: Path) -> Document:
    """The policy in a YAML or JSON file, or in the only such file of a folder; an empty one is all defaults.

    Raises SetupError with one line per problem: path, value, what is allowed.
    """
    try:
        return read(_inside(file).read_text())
    except OSError as error:
        raise SetupError(f"The policy file {str(file)!r} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SetupError(f"The policy file {str(file)!r} is not YAML: {error}") from None
    except Invalid as error:
        problems = "\n".join(f"  {problem}" for problem in error.problems)
        raise SetupError(f"The policy in {file} is wrong:\n{problems}") from None


SUFFIXES = frozenset({".yaml", ".yml", ".json"})


def _inside(file: Path) -> Path:
    if not file.is_dir():
        return file
    found = sorted(one for one in file.iterdir() if one.suffix in SUFFIXES)
    if len(found) != 1:
        names = ", ".join(one.name for one in found) or "none"
        raise SetupError(f"The policy folder {str(file)!r} must hold one YAML or JSON file, it holds {names}")
    return found[0]


@contextlib.asynccontextmanager
async def policy_followed(file: Path | None, pilot: Pilot, every_s: float = LOOK_S) -> AsyncIterator[None]:
    """Keep the file's policy at what it says for as long as the context lasts; without a file nothing is done.

    A file that is wrong from the start stops no router, for the others go on: it starts with the version that was
    activated, else with the defaults, and says so.
    """
    if file is None:
        yield
        return
    stamp = _stamp(file)
    try:
        pilot.take_base(read_policy(file))
    except SetupError as error:
        pilot.refuse_base(str(error))
        logger.error("starting with the version in force, or with the defaults where none is: %s", error)
    following = asyncio.create_task(_follow(file, stamp, pilot, every_s))
    try:
        yield
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def _follow(file: Path, seen: Stamp | None, pilot: Pilot, every_s: float) -> None:
    """Look again and again; a file that is wrong is said once, and the policy in use stays."""
    while True:
        await asyncio.sleep(every_s)
        stamp = await asyncio.to_thread(_stamp, file)
        if stamp == seen:
            continue
        seen = stamp
        try:
            pilot.take_base(await asyncio.to_thread(read_policy, file))
            logger.info("the policy in %s was taken up", file)
        except SetupError as error:
            pilot.refuse_base(str(error))
            logger.warning("the policy in use stays: %s", error)


def _stamp(file: Path) -> Stamp | None:
    try:
        status = _inside(file).stat()
    except (OSError, SetupError):
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size

"""Keys in a file: YAML or JSON, read again whenever it changes, so that keys rotate without a restart.

    keys:
      - {id: team-a, hash: "sha256:…", role: client, limits: {requests_per_minute: 600}}

A Kubernetes secret mounted as a folder is such a file: the kubelet replaces it by a link, which is seen here.
"""

import fcntl
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from pydantic import Field, ValidationError, model_validator

from engines.pool import Part
from router.access.keys import Key
from router.errors import SetupError

Stamp = tuple[int, int, int]

LOCK_S, LOOK_EVERY_S = 5.0, 0.02
"""How long to wait for another writer, and how often to look whether it is done."""

# The library's readers in Python take seven times as long (60 ms for 300 keys), and hold the interpreter meanwhile.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class KeyDocument(Part):
    """The file's content."""

    keys: tuple[Key, ...] = Field(default=(), description="The keys; ids and hashes are given once.")

    @model_validator(mode="after")
    def _distinct(self) -> "KeyDocument":
        for what in ("id", "hash"):
            given = Counter(getattr(key, what) for key in self.keys)
            if twice := sorted(value for value, times in given.items() if times > 1):
                raise ValueError(f"keys: the {what} {twice[0]!r} is given twice")
        return self


def read_keys(file: Path) -> tuple[Key, ...]:
    """The keys of a file; raises SetupError naming the file and the field, never a value."""
    try:
        data = yaml.load(file.read_text(), Loader=_LOADER)
    except OSError as error:
        raise SetupError(f"The keys file {str(file)!r} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        # The parser's message quotes the line, which may hold a key that somebody put there in the clear.
        raise SetupError(f"The keys file {str(file)!r} is neither YAML nor JSON") from None
    try:
        return KeyDocument.model_validate({} if data is None else data).keys
    except ValidationError as error:
        wrong = "\n".join(
            f"  {'.'.join(map(str, detail['loc'])) or 'keys'}: {detail['msg']}"
            for detail in error.errors(include_input=False, include_url=False)
        )
        raise SetupError(f"The keys file {str(file)!r} is wrong:\n{wrong}") from None


def stamp_of(file: Path) -> Stamp | None:
    """What changes when the file does: a link that now leads elsewhere has another inode. None where there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


@contextmanager
def changing(file: Path) -> Iterator[dict[str, Key]]:
    """The keys by id, to be changed in place and written at the end, whole or not at all; one writer at a time.

    Raises SetupError where it cannot be, or another writer takes longer than `LOCK_S`; waits for both in this thread.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(file.parent, os.O_RDONLY)
    except OSError as error:
        raise SetupError(f"The folder of {str(file)!r} cannot be used: {error.strerror}") from None
    try:
        _lock(folder, file)
        keys = {key.id: key for key in (read_keys(file) if file.exists() else ())}
        yield keys
        _write(file, KeyDocument(keys=tuple(keys.values())))
    finally:
        os.close(folder)


def _lock(folder: int, file: Path) -> None:
    until_s = time.monotonic() + LOCK_S
    while True:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until_s:
                raise SetupError(f"The keys file {str(file)!r} is held by another writer: try again") from None
            time.sleep(LOOK_EVERY_S)
        else:
            return


def _write(file: Path, document: KeyDocument) -> None:
    said = document.model_dump(mode="json", exclude_defaults=True)
    target = file.resolve()
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")  # only its owner may read it
        with os.fdopen(handle, "w") as out:
            yaml.dump(said, out, Dumper=_DUMPER, sort_keys=False)
            out.flush()
            os.fsync(out.fileno())
        Path(name).replace(target)
    except OSError as error:
        raise SetupError(f"The keys file {str(file)!r} cannot be written: {error.strerror}") from None

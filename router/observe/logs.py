"""What is written to the log, and how: lines for people or JSON objects; no text of prompts or answers in either."""

import json
import logging
import os
import re
import sys
import time
import traceback
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType

import orjson

from router.config.check import LOG_FOLDER
from router.config.traffic import LogSettings

FIELDS = "fields"
"""The key in a record's `extra` that holds what a JSON line says beside its message."""

_LOGGERS = ("alpharoute", "asyncio")
"""This product's, and the one that tells of background work that failed unseen."""

_NO_WORD = re.compile(r'[\s"=]')

FILE_BYTES, FILES = 100 * 1024 * 1024, 2
"""A log file's size, and how many older ones are kept beside it."""

_Failure = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class JsonLines(logging.Formatter):
    """One JSON object per line.

    Of an exception it tells the kind and the places in the code: its words may quote what a client sent.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        said: dict[str, object] = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **record.__dict__.get(FIELDS, {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            kind, _, at = record.exc_info
            said["exception"] = kind.__name__
            said["stack"] = _places(at)
        return orjson.dumps(said, default=str).decode()


class TextLines(logging.Formatter):
    """Lines for people; of an exception they tell what the JSON lines tell."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line, with the fields a request's line has."""
        fields = record.__dict__.get(FIELDS, {})
        line = super().format(record)
        return " ".join([line, *(f"{name}={_plain(value)}" for name, value in fields.items())])

    def formatException(self, ei: _Failure) -> str:
        """The kind and the places, without the words."""
        kind, _, at = ei
        return "\n".join(["Traceback:", *(f"  {place}" for place in _places(at)), kind.__name__ if kind else ""])


def _plain(value: object) -> str:
    """A field's value as one word, in quotes where it would be taken for several or for another field: a request's id
    is its client's to choose."""
    text = str(value)
    return json.dumps(text) if not text.isprintable() or _NO_WORD.search(text) else text


def _places(at: TracebackType | None) -> list[str]:
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(at)]


class LogFile(RotatingFileHandler):
    """A log file that makes room at `FILE_BYTES`.

    The library's own question looks the path up for each line, which costs more than the writing does.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(path, maxBytes=FILE_BYTES, backupCount=FILES, encoding="utf-8")

    def shouldRollover(self, record: logging.LogRecord) -> bool:
        """Whether the file is full."""
        return self.stream is not None and self.stream.tell() >= self.maxBytes


def configure_logging(settings: LogSettings, process: str) -> None:
    """Write this product's log as the settings say, each line at once; safe to repeat.

    Into `process`-PID.log in the folder that ALPHAROUTE_LOG_DIR names, else to the process's own standard error:
    `sys.stderr` is Ray Serve's in its replicas, which keeps a thousand lines back and loses them with the process.
    """
    folder = os.environ.get(LOG_FOLDER)
    if folder:
        handler: logging.Handler = LogFile(Path(folder) / f"{process}-{os.getpid()}.log")
    else:
        handler = logging.StreamHandler(sys.__stderr__ or sys.stderr)
    handler.setFormatter(JsonLines() if settings.format == "json" else TextLines())
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.propagate = False
        logger.setLevel(logging.INFO)

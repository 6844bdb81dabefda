"""What is said about settings that are wrong: path, value unless it may be a secret, what is allowed, nearest name."""

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import get_args

from pydantic import BaseModel, SecretStr
from pydantic_core import ErrorDetails

from router.config.masking import shown

PREFIX = "ALPHAROUTE_"

LOG_FOLDER = "ALPHAROUTE_LOG_DIR"
"""The folder into which each process writes a log of its own; unset is standard error."""

API_KEY = "ALPHAROUTE_KEY"
SERVICE_URL = "ALPHAROUTE_URL"

ENGINE_KEY, OTHER_KEY, VANILLA_KEY = "ALPHAROUTE_ENGINE_KEY", "ALPHAROUTE_OTHER_KEY", "ALPHAROUTE_VANILLA_KEY"

PROCESS_VARIABLES = (
    *("ALPHAROUTE_CACHE", LOG_FOLDER),
    *(API_KEY, SERVICE_URL, ENGINE_KEY, OTHER_KEY, VANILLA_KEY),
)
"""Variables that are no settings: where the demo pair is cached, where processes write their logs, the API key and the
address with which commands ask a running service, and the keys of engines that they ask directly."""

# Kubernetes describes every Service of a namespace to every pod, and one whose name begins with "alpharoute" is likely.
_SERVICE_LINK = re.compile(r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$")
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://")

_QUOTED_URL = re.compile(r"""(['"]).*://.*\1""")

Place = tuple[int | str, ...]


def problem(model: type[BaseModel], detail: ErrorDetails) -> str:
    """One line about one error of pydantic's."""
    place = detail["loc"]
    path = ".".join(str(part) for part in place) or "settings"
    if detail["type"] == "extra_forbidden":
        return f"{path}: unknown setting{_nearest(str(place[-1]), _names_at(model, place[:-1]))}"
    given, text = detail["input"], _QUOTED_URL.sub("(not shown)", detail["msg"])
    if isinstance(given, dict | list | tuple | BaseModel):
        return f"{path}: {text}"
    if _is_secret(model, place):
        return f"{path}: (not shown): {text}"
    return f"{path}: {shown(given)!r}: {text}"


def unknown_variables(model: type[BaseModel], environ: Mapping[str, str]) -> list[str]:
    """One line per variable of ours that is no setting, with the nearest right name."""
    known = [*variables(model), *PROCESS_VARIABLES]
    ours = sorted(name for name in environ if name.upper().startswith(PREFIX))
    return [
        f"{name}: unknown environment variable{_nearest(name.upper(), known)}"
        for name in ours
        if not _is_known(model, name) and not _is_service_link(name, environ[name])
    ]


def variables(model: type[BaseModel], prefix: str = PREFIX) -> Iterator[str]:
    """The variable of every setting and section."""
    for name, info in model.model_fields.items():
        variable = f"{prefix}{name.upper()}"
        yield variable
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from variables(info.annotation, f"{variable}__")


def _is_known(model: type[BaseModel], name: str) -> bool:
    if name.upper() in PROCESS_VARIABLES:
        return True
    part: type[BaseModel] | None = model
    for word in name[len(PREFIX) :].lower().split("__"):
        if part is None or word not in part.model_fields:
            return False
        annotation = part.model_fields[word].annotation
        if annotation is not None and getattr(annotation, "__origin__", None) is dict:
            return True
        part = annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
    return True


def _is_service_link(name: str, value: str) -> bool:
    return bool(_SERVICE_LINK.search(name) or (name.endswith("_PORT") and _SERVICE_ADDRESS.match(value)))


def _nearest(name: str, allowed: Iterable[str]) -> str:
    near = get_close_matches(name, list(allowed), n=1)
    return f", did you mean {near[0]!r}?" if near else ""


def _names_at(model: type[BaseModel], place: Place) -> list[str]:
    """The settings there are where an unknown one was found."""
    for part in place:
        if isinstance(part, str) and part in model.model_fields:
            model = _part_of(model.model_fields[part].annotation) or model
    return list(model.model_fields)


def _is_secret(model: type[BaseModel], place: Place) -> bool:
    """Whether the setting at this place, or what it stands in, is a secret by its type."""
    for part in place:
        if isinstance(part, str) and part in model.model_fields:
            annotation = model.model_fields[part].annotation
            if part == "env" or _holds_secret(annotation):
                return True
            model = _part_of(annotation) or model
    return False


def _holds_secret(annotation: object) -> bool:
    return annotation is SecretStr or any(_holds_secret(inner) for inner in get_args(annotation))


def _part_of(annotation: object) -> type[BaseModel] | None:
    """The model inside an annotation: itself, an item of a list, a value of a mapping."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _part_of(inner))), None)

"""What of a setting may be shown: everything but secrets, wherever they hide."""

import re
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, SecretStr

STARS = "***"

_SECRET_WORD = re.compile(r"(?<![a-z])(api-?key|key|token|secret|password|passwd|credentials?|auth)(?![a-z])", re.I)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.I)
_HOST = r"(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::\d+)?"
_HOSTS = re.compile(f"(?:{_HOST}(?:,{_HOST})*)?")
_PATH = re.compile(r"(/[\w.\-/]*)?")
_DATABASE = re.compile(r"db=\d+")


def shown(value: object, name: str = "") -> object:
    """A setting's value as JSON may hold it; `name` is the field's, for some are secret by what they are for.

    Values of `env` and of options in `args` that name a key, a token or a password are stars, and so are the parts of
    a URL where a password may stand.
    """
    if isinstance(value, SecretStr):
        return masked(value)
    if isinstance(value, BaseModel):
        return {field: shown(getattr(value, field), field) for field in type(value).model_fields}
    if isinstance(value, Mapping):
        return {str(key): STARS if name == "env" else shown(item, str(key)) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(str(shown(item)) for item in value)
    if isinstance(value, tuple | list):
        return _arguments(value) if name == "args" else [shown(item) for item in value]
    if isinstance(value, str):
        return STARS if name and _SECRET_WORD.search(name) else masked_url(value)
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def masked(secret: SecretStr) -> str:
    """A secret as it may be shown: a URL without its password, a single word of ours, else stars."""
    text = secret.get_secret_value()
    return text if text == "embedded" else masked_url(text) if _SCHEME.match(text) else STARS


def masked_url(text: str) -> str:
    """A text that may be a URL, without anything in it that may be a secret; other text as it is.

    A password may hold any character, so its end is the last @, and what follows is shown only where it looks like
    hosts, a path and a database. Where that @ may itself be within a query or a fragment, nothing is shown.
    """
    scheme = _SCHEME.match(text)
    if scheme is None:
        return text
    login, at, rest = text[scheme.end() :].rpartition("@")
    if "?" in login or "#" in login:
        return scheme[0] + STARS
    return scheme[0] + (f"{STARS}@" if at else "") + _after_login(rest)


def _after_login(rest: str) -> str:
    place, has_query, query = rest.partition("?")
    hosts, slash, path = place.partition("/")
    place_shown = place if _HOSTS.fullmatch(hosts) and _PATH.fullmatch(slash + path) else STARS
    return place_shown + (f"?{query if _DATABASE.fullmatch(query) else STARS}" if has_query else "")


def masked_command(arguments: Sequence[str]) -> str:
    """A command line as a report may hold it."""
    return " ".join(_arguments(arguments))


def _arguments(arguments: Sequence[object]) -> list[str]:
    """Command-line arguments, with stars in place of what an option that names a secret is given."""
    shown_arguments: list[str] = []
    secret, first = False, False
    for argument in map(str, arguments):
        if secret and (first or not argument.startswith("-")):
            shown_arguments.append(STARS)
            first = False
            continue
        option, equals, _ = argument.partition("=")
        secret = argument.startswith("-") and _SECRET_WORD.search(option) is not None and not equals
        first = secret
        hidden = equals and argument.startswith("-") and _SECRET_WORD.search(option)
        shown_arguments.append(f"{option}={STARS}" if hidden else masked_url(argument))
    return shown_arguments

"""Caps on how text is sampled, where an operator gives variety up for speed: the request as the engine gets it."""

from dataclasses import replace

from router.api.body import Body, encode
from router.api.request import Generation


def capped(asked: Generation, temperature_max: float | None, top_p_max: float | None) -> tuple[Generation, str]:
    """The request within the caps, and what was changed (`temperature=0.7`), empty where nothing was.

    A request for several answers keeps its temperature where the cap is 0: engines refuse to give the same one twice.
    """
    changed: Body = {}
    temperature = asked.temperature
    several = asked.choices > 1 and temperature_max == 0
    if temperature_max is not None and temperature > temperature_max and not several:
        changed["temperature"] = temperature = temperature_max
    if top_p_max is not None and asked.top_p > top_p_max:
        changed["top_p"] = top_p_max
    if not changed:
        return asked, ""
    body = {**asked.body, **changed}
    told = ", ".join(f"{name}={value:g}" for name, value in changed.items())
    return replace(asked, raw=encode(body), body=body, temperature=temperature), told

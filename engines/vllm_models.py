"""The longest context an engine takes, as its own /v1/models says."""

import aiohttp
from pydantic import BaseModel, ValidationError

from engines.http import engine_session

_LIMIT_S = 5.0


class _Card(BaseModel):
    id: str
    max_model_len: int | None = None


class _Cards(BaseModel):
    data: list[_Card]


async def read_context(url: str, api_key: str | None, model: str) -> int | None:
    """Tokens of prompt and answer together; None where the server does not say, as other servers by URL may not."""
    headers = {"authorization": f"Bearer {api_key}"} if api_key else None
    try:
        async with (
            engine_session(_LIMIT_S) as session,
            session.get(f"{url}/v1/models", headers=headers, raise_for_status=True) as answer,
        ):
            cards = _Cards.model_validate_json(await answer.read()).data
    except (aiohttp.ClientError, TimeoutError, OSError, ValidationError):
        return None
    return next((card.max_model_len for card in cards if card.id == model), None)

"""The chosen classifier in Redis."""

from importlib import resources

import orjson
from pydantic import TypeAdapter, ValidationError

from router.state.choices import Chosen
from router.state.redis_store import AsyncRedis, Keys, or_store_error
from router.state.store import StoreError

_CHOSEN = TypeAdapter(Chosen)


class RedisChoices:
    """`router.state.choices.Choices` over one hash."""

    def __init__(self, redis: AsyncRedis, keys: Keys) -> None:
        self._redis = redis
        self._key = keys.classifier
        self._put = redis.register_script(resources.files(__package__).joinpath("choose.lua").read_text())

    async def read(self) -> Chosen | None:
        """See Choices; StoreError also where another version of this software wrote what is not understood."""
        async with or_store_error():
            text = await self._redis.hget(self._key, "chosen")
        try:
            return None if text is None else _CHOSEN.validate_json(text)
        except ValidationError as error:
            raise StoreError(f"the chosen classifier cannot be read: {error.errors()[0]['msg']}") from None

    async def put(self, chosen: Chosen) -> bool:
        """See Choices; one Lua script."""
        async with or_store_error():
            return bool(await self._put(keys=[self._key], args=[chosen.number, orjson.dumps(chosen)]))

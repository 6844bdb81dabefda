"""Settings of who may come in, and by which door."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from engines.pool import Part
from router.roles import Role

Reader = Literal["anyone", "client", "operator", "admin"]


class AuthSettings(Part):
    """API keys; docs/security.md has the whole of it."""

    keys_file: Path | None = Field(default=None, description="YAML or JSON file of keys, watched for changes.")
    redis_keys: bool = Field(default=False, description="Take the keys in Redis too: `alpharoute keys create`.")
    allow_anonymous: bool = Field(default=False, description="Serve everybody, without keys, beyond loopback too.")
    metrics_for: Reader = Field(default="anyone", description="Who may read /metrics: anyone, or keys of a role.")
    refresh_s: float = Field(default=1.0, gt=0, le=60, description="How often changed keys are looked for.")
    session_s: float = Field(default=8 * 3600, ge=60, description="How long a browser stays signed in to the console.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.allow_anonymous and self.needs_keys:
            raise ValueError("allow_anonymous serves everybody: leave out keys_file and redis_keys, or set it to false")
        return self

    @property
    def needs_keys(self) -> bool:
        """Whether requests must carry a key."""
        return self.keys_file is not None or self.redis_keys

    @property
    def metrics_role(self) -> Role | None:
        """The role that reading /metrics needs."""
        return None if self.metrics_for == "anyone" else Role(self.metrics_for)


class AdminSettings(Part):
    """The admin API on a port of its own, and the console on the next."""

    port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="Port for /admin, which the API's then lacks; unset: both.",
    )
    host: str = Field(default="127.0.0.1", description="Address that the admin port binds, on each router's node.")


class ConsoleSettings(Part):
    """The console, a process of its own at /console."""

    enabled: bool = Field(default=True, description="Whether there is one.")
    port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="A port of its own, on `admin.host`; unset: the API's, or with `admin.port` the one after that.",
    )
    api_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^/]+/?$",
        description="Where it reaches the Admin API; unset: on its own node, at `admin.port` or `listen.port`.",
    )

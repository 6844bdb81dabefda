"""Every setting of the product: one YAML file and environment variables, checked by name and value.

`alpharoute settings` prints them all. A variable is `ALPHAROUTE_` and the path in capitals, levels joined by two
underscores: `ALPHAROUTE_REDIS__URL=redis://10.0.0.5:6379/0`. Variables win over the file, options of the command line
over both. A variable that is no setting is refused, but for ALPHAROUTE_CACHE and ALPHAROUTE_LOG_DIR, which are read
where they are used.
"""

from pathlib import Path
from typing import Self

from pydantic import Field, PrivateAttr, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from engines.pool import DEMO, Part, PoolSettings, pools_problem
from policies.document import Document
from router.config.auth import AdminSettings, AuthSettings, ConsoleSettings
from router.config.distillation import DistillationSettings
from router.config.evaluation import EvaluationSettings
from router.config.origins import Origin, Origins
from router.config.redis_url import parse_address
from router.config.traffic import DecisionSettings, LogSettings, QueueSettings, ResilienceSettings, TracingSettings

EMBEDDED = "embedded"


class Listen(Part):
    """Where clients connect."""

    host: str = Field(default="127.0.0.1", description="Address that HAProxy binds; loopback unless set.")
    port: int = Field(default=8000, ge=1, le=65535, description="Port of the API.")


class RedisSettings(Part):
    """The state that routers and engines share."""

    url: SecretStr = Field(
        default=SecretStr(EMBEDDED),
        description="redis://, rediss://, unix://, redis+sentinel:// or redis+cluster:// URL (see docs/redis.md); "
        "'embedded' starts one as a child.",
    )
    username: str | None = Field(default=None, description="ACL user, where the URL has none.")
    password: SecretStr | None = Field(default=None, description="Its password, where the URL has none.")
    sentinel_username: str | None = Field(default=None, description="ACL user of the Sentinels themselves.")
    sentinel_password: SecretStr | None = Field(default=None, description="Their password; unset for none.")
    ca_file: Path | None = Field(default=None, description="With rediss: who signs certificates; unset: the system's.")
    cert_file: Path | None = Field(default=None, description="With rediss: our own certificate, where one is wanted.")
    key_file: Path | None = Field(default=None, description="With rediss: its private key.")
    prefix: str = Field(default="alpharoute", pattern=r"^[\w.-]{1,64}$", description="First part of every key.")
    timeout_s: float = Field(default=1.0, gt=0, description="Longest wait for an answer; no request waits.")
    directory: Path | None = Field(default=None, description="Where the embedded server keeps data; unset forgets.")

    @model_validator(mode="after")
    def _connects(self) -> Self:
        url = self.url.get_secret_value()
        if url == EMBEDDED:
            return self
        try:
            address = parse_address(url)
        except ValueError as error:
            raise ValueError(f"url {error}") from None
        files = [name for name in ("ca_file", "cert_file", "key_file") if getattr(self, name) is not None]
        if files and not address.tls:
            raise ValueError(f"{files[0]} is for encrypted connections: begin the url with rediss")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together")
        return self


class RouterSettings(Part):
    """The router deployment."""

    replicas: int = Field(default=1, ge=1, description="Router replicas to keep.")
    max_ongoing_requests: int = Field(
        default=8192,
        ge=1,
        description="Requests one router replica holds at a time; above the connections that HAProxy holds, or slow "
        "clients keep others out.",
    )
    sync_s: float = Field(default=0.2, gt=0, le=1, description="How often what was learnt is written and read.")
    heartbeat_s: float = Field(default=0.5, gt=0, description="How often engines announce their load.")
    heartbeat_ttl_s: float = Field(default=5.0, gt=0, description="When a silent engine counts as gone.")
    engine_host: str = Field(
        default="127.0.0.1", description="Address engines listen on; 'node' for the node's own, with several nodes."
    )
    drain_s: float = Field(default=60.0, ge=0, description="How long a router that stops may finish its requests.")
    retries: int = Field(default=2, ge=0, description="Other replicas tried while no byte was sent to the client.")

    @model_validator(mode="after")
    def _outlives_a_heartbeat(self) -> Self:
        if self.heartbeat_ttl_s <= 2 * self.heartbeat_s:
            raise ValueError(
                f"heartbeat_ttl_s must be more than twice heartbeat_s ({self.heartbeat_s!r}), "
                f"or one late heartbeat takes a live engine away; it is {self.heartbeat_ttl_s!r}"
            )
        return self


DEFAULT_SEGMENT = "default"
"""That of requests which name none, so it is always allowed."""


class Limits(Part):
    """What a request may cost before it is refused."""

    body_bytes: int = Field(default=4 * 1024 * 1024, ge=1024, description="Largest request body.")
    bodies_bytes: int = Field(
        default=256 * 1024 * 1024,
        ge=1024,
        description="Bodies above 64 KiB that one router holds at a time; one of the largest size always fits.",
    )
    body_fields: int = Field(
        default=65_536, ge=1024, description="Most lists, objects and fields in a body's JSON; texts do not count."
    )
    body_items: int = Field(
        default=262_144, ge=1024, description="Most items in all of a body's lists and objects, token ids for one."
    )
    body_s: float = Field(default=30.0, gt=0, description="Longest wait for a request's body.")
    connect_s: float = Field(default=2.0, gt=0, description="Longest wait for a connection to an engine.")
    first_byte_s: float = Field(
        default=600.0,
        gt=0,
        description="Longest wait for an answer's first byte, the whole of one that does not stream.",
    )
    silence_s: float = Field(
        default=120.0, gt=0, description="Longest silence of an engine within a stream, or of a client that reads none."
    )
    request_s: float = Field(
        default=3600.0, gt=0, description="Longest time of a request in all; x-request-timeout-ms may ask for less."
    )
    extra_fields: frozenset[str] = Field(
        default=frozenset(), description="Further body fields to pass on, as priority."
    )
    xargs: frozenset[str] = Field(default=frozenset(), description="vllm_xargs keys that clients may set.")
    segments: frozenset[str] = Field(
        default=frozenset({DEFAULT_SEGMENT}),
        description="Segments that clients may name beside 'default', which is that of requests that name none; each "
        "keeps its own acceptance.",
    )

    @field_validator("segments")
    @classmethod
    def _with_default(cls, segments: frozenset[str]) -> frozenset[str]:
        return segments | {DEFAULT_SEGMENT}


class Models(Part):
    """The names that clients may use for models."""

    aliases: dict[str, str] = Field(
        default_factory=dict, description="Further names by the served model each stands for: {gpt-4: llama}."
    )


class ClassifierSettings(Part):
    """How a prompt's task is found where the client does not name it."""

    artefact: Path | None = Field(default=None, description="A trained classifier; unset uses the shipped one.")
    versions: Path | None = Field(
        default=None,
        description="A folder of folders with trained classifiers, the same on every node: operators choose among them "
        "while routers run.",
    )
    sha256: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{64}$",
        description="The only version that may be used, checked at start and at every reload; unset takes any.",
    )
    refresh_s: float = Field(default=10.0, gt=0, description="How often a new version is looked for.")
    min_confidence: float = Field(default=0.35, ge=0, le=1, description="Below it the task is 'other'.")
    feedback: Path | None = Field(
        default=None,
        description="File that keeps prompts whose task clients named, to train on; unset keeps none. They are "
        "personal data as your users typed them: choose who reads the file and for how long it stays. "
        "x-alpharoute-feedback: off keeps a request out.",
    )
    feedback_bytes: int = Field(
        default=16 * 1024 * 1024, ge=64 * 1024, description="When the feedback file becomes NAME.1, replacing that one."
    )


def demo_pools(gpus: int = 0) -> tuple[PoolSettings, ...]:
    """A vanilla and a speculative pool over the demo pair: what is served where no pools are set."""
    return pair_of_pools(model="demo", target=DEMO, drafter=DEMO, max_model_len=512, max_num_seqs=8, gpus=gpus)


def pair_of_pools(
    *,
    model: str,
    target: str,
    drafter: str | None,
    max_model_len: int | None = None,
    max_num_seqs: int | None = None,
    gpus: int = 0,
) -> tuple[PoolSettings, ...]:
    """A vanilla and a speculative pool over one target; n-gram speculation where there is no drafter.

    On one GPU both share it, on more each has its own.
    """
    shared: dict[str, object] = {"max_model_len": max_model_len, "max_num_seqs": max_num_seqs}
    if gpus == 1:
        shared["args"] = ("--gpu-memory-utilization", "0.44")
    each = {"model": model, "target": target, "gpus": min(1.0, gpus / 2), "vllm": shared}
    method = "draft_model" if drafter else "ngram"
    name = "draft" if drafter else "ngram"
    return (
        PoolSettings.model_validate({"name": "vanilla", **each}),
        PoolSettings.model_validate({"name": name, "drafter": drafter, "method": method, "k_max": 4, **each}),
    )


class Settings(BaseSettings):
    """All of it; each field's default is its only home."""

    model_config = SettingsConfigDict(
        env_prefix="ALPHAROUTE_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    listen: Listen = Listen()
    auth: AuthSettings = AuthSettings()
    admin: AdminSettings = AdminSettings()
    console: ConsoleSettings = ConsoleSettings()
    redis: RedisSettings = RedisSettings()
    router: RouterSettings = RouterSettings()
    limits: Limits = Limits()
    models: Models = Models()
    resilience: ResilienceSettings = ResilienceSettings()
    queue: QueueSettings = QueueSettings()
    decisions: DecisionSettings = DecisionSettings()
    logs: LogSettings = LogSettings()
    tracing: TracingSettings = TracingSettings()
    classifier: ClassifierSettings = ClassifierSettings()
    distillation: DistillationSettings = DistillationSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    pools: tuple[PoolSettings, ...] = Field(default_factory=demo_pools, min_length=1, description="The engines.")
    policy: Document = Field(default=Document(), description="The routing policy; see docs/policy.md.")
    policy_file: Path | None = Field(
        default=None, description="A file of its own for the policy, in place of `policy`; watched for changes."
    )

    _origins: Origins = PrivateAttr(default=Origins())

    @property
    def origins(self) -> Origins:
        """Where values come from that are not defaults, as far as that is known."""
        return self._origins

    def coming_from(self, origins: Origins) -> Self:
        """A copy that knows where its values come from."""
        found = self.model_copy()
        found._origins = origins
        return found

    def overridden(self, **chosen: object) -> Self:
        """A copy with these fields, as options of the command line set them."""
        found = self.model_copy(update=chosen)
        return found.coming_from(self._origins.over(dict.fromkeys(chosen, Origin.COMMAND_LINE)))

    @model_validator(mode="after")
    def _one_policy(self) -> Self:
        if self.policy_file is not None and self.policy != Document():
            raise ValueError("policy and policy_file exclude each other: move the policy into the file")
        return self

    @model_validator(mode="after")
    def _pools_agree(self) -> Self:
        if problem := pools_problem(self.pools):
            raise ValueError(f"pools: {problem}")
        return self

    @model_validator(mode="after")
    def _aliases_of_served_models(self) -> Self:
        served = {pool.model for pool in self.pools} | {name for pool in self.pools for name in pool.loras}
        for alias, model in self.models.aliases.items():
            if model not in served:
                raise ValueError(f"models.aliases: {alias!r} stands for {model!r}, but served are {sorted(served)}")
            if alias in served:
                raise ValueError(f"models.aliases: {alias!r} is a served model's own name")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over what a file gave."""
        return env_settings, init_settings

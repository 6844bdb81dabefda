"""Settings of what keeps traffic flowing (retries, breakers, queues) and of what is told of it (logs, traces)."""

from typing import Literal

from pydantic import Field

from engines.pool import Part


class ResilienceSettings(Part):
    """What happens when an engine fails a request."""

    retry_share: float = Field(default=0.1, ge=0, le=1, description="Retries allowed, as a share of the requests.")
    retry_floor: int = Field(default=20, ge=0, description="Retries allowed beside that, in any ten seconds.")
    breaker_failures: int = Field(default=5, ge=1, description="Failures in a row that take a replica out.")
    breaker_backoff_s: float = Field(default=1.0, gt=0, description="For how long at first; doubled each time.")
    breaker_backoff_max_s: float = Field(default=60.0, gt=0, description="Longest time out before the next trial.")


class QueueSettings(Part):
    """What happens when a pool is full: requests wait in the router, by the priority of their segment."""

    concurrency: float = Field(
        default=2.0, gt=0, description="Requests inside a pool's engines, as a multiple of what they run at a time."
    )
    size: int = Field(default=256, ge=0, description="Requests that may wait per pool and router; more get a 429.")
    wait_s: float = Field(default=60.0, gt=0, description="Longest wait before a 429.")
    priorities: dict[str, int] = Field(
        default_factory=dict, description="Priority by segment; higher goes first, 0 where not named."
    )


class DecisionSettings(Part):
    """Decisions that are kept, with what they were made by and how they went; no text of a prompt or an answer."""

    per_s: float = Field(default=20.0, gt=0, description="Decisions a second that each router keeps, at most.")
    kept: int = Field(default=2000, ge=1, description="Newest decisions kept in Redis, 1.5 to 6.5 KB each.")


class LogSettings(Part):
    """What the router writes to its log; never any text of a prompt or an answer."""

    format: Literal["text", "json"] = Field(default="text", description="Lines for people or one JSON object each.")
    requests: bool = Field(default=False, description="One line per request.")


class TracingSettings(Part):
    """OpenTelemetry traces; needs `pip install alpharoute[otel]`."""

    endpoint: str | None = Field(default=None, description="OTLP/HTTP URL to send traces to; unset sends none.")
    share: float = Field(default=1.0, ge=0, le=1, description="Share of requests traced where the client says nothing.")

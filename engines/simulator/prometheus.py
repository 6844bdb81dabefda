"""GET /metrics: the engine's counts under vLLM's names and labels."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from engines.simulator.batching import Batch

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

FINISH_REASONS = ("stop", "length", "abort", "error", "repetition")


class BatchCollector(Collector):
    """Reads the batch when it is scraped."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._labels = {"model_name": batch.settings.model, "engine": "0"}

    def collect(self) -> Iterator[Metric]:
        """The families vLLM exports that a router or an autoscaler reads; no histograms."""
        batch, counts = self._batch, self._batch.counts
        yield self._gauge("num_requests_running", "Number of requests in model execution batches.", len(batch.running))
        yield self._gauge("num_requests_waiting", "Number of requests waiting to be processed.", len(batch.waiting))
        yield self._gauge("kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", batch.kv_usage)
        yield self._counter("prompt_tokens", "Number of prefill tokens processed.", counts.prompt_tokens)
        yield self._counter("generation_tokens", "Number of generation tokens processed.", counts.generation_tokens)
        yield self._counter("num_preemptions", "Cumulative number of preemption from the engine.", 0)
        yield self._labelled(
            "request_success",
            "Count of successfully processed requests.",
            "finished_reason",
            {reason: counts.finished[reason] for reason in FINISH_REASONS},
        )
        if batch.settings.speculative:
            yield from self._speculation()

    def _speculation(self) -> Iterator[Metric]:
        counts = self._batch.counts
        yield self._counter("spec_decode_num_drafts", "Number of spec decoding drafts.", counts.drafts)
        yield self._counter("spec_decode_num_draft_tokens", "Number of draft tokens.", counts.draft_tokens)
        yield self._counter("spec_decode_num_accepted_tokens", "Number of accepted tokens.", counts.accepted_tokens)
        by_position = {str(i): count for i, count in enumerate(counts.accepted_per_position)}
        name, about = "spec_decode_num_accepted_tokens_per_pos", "Accepted tokens per draft position."
        yield self._labelled(name, about, "position", by_position)

    def _gauge(self, name: str, about: str, value: float) -> Metric:
        family = GaugeMetricFamily(f"vllm:{name}", about, labels=tuple(self._labels))
        family.add_metric(tuple(self._labels.values()), value)
        return family

    def _counter(self, name: str, about: str, value: float) -> Metric:
        family = CounterMetricFamily(f"vllm:{name}", about, labels=tuple(self._labels))
        family.add_metric(tuple(self._labels.values()), value)
        return family

    def _labelled(self, name: str, about: str, label: str, values: dict[str, int]) -> Metric:
        family = CounterMetricFamily(f"vllm:{name}", about, labels=(*self._labels, label))
        for key, value in values.items():
            family.add_metric((*self._labels.values(), key), value)
        return family


def metrics_page(batch: Batch) -> bytes:
    """The whole page."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(BatchCollector(batch))
    return generate_latest(registry)

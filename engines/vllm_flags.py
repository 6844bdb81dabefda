"""The flags that make a vLLM server an engine of this project: set on those it starts, needed on those by URL."""

METRICS_FLAG = "--enable-per-request-metrics"
DRAFTS_FLAG = "--per-request-spec-decode-metrics detailed"
SCHEDULER, ASYNC_SCHEDULER = "engines.vllm_scheduler.SpecKScheduler", "engines.vllm_scheduler.AsyncSpecKScheduler"
ASYNC, NO_ASYNC = "--async-scheduling", "--no-async-scheduling"
SCHEDULER_FLAGS = f"--scheduler-cls {ASYNC_SCHEDULER} (with {NO_ASYNC}: {SCHEDULER})"

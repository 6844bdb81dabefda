"""vLLM's dynamic schedule at its best: k by batch size, from the true step times and the mix's true acceptance."""

from bench.policy.calibration import Calibration, costs
from bench.policy.oracle import SAMPLE, Truth


def best_schedule(calibration: Calibration, drafter: str, truth: Truth) -> tuple[int, ...]:
    """k for batches of 1 … max_running: argmin of T(B, every request at k) / E(k), E(k) the mix's tokens per step.

    The batch drafts k together from step to step, so the most tokens per second now is also the best for whoever comes.
    """
    w = truth.workload
    context = float(w.prompt_tokens.mean() + w.output_tokens.mean() / 2)
    requests = range(min(len(w.task), SAMPLE))
    tokens = sum(int(w.output_tokens[i]) - 1 for i in requests)
    steps = [sum(w.run(drafter, i, k).steps for i in requests) for k in range(calibration.k_max + 1)]
    engine = costs(calibration, drafter)

    def best(batch: int) -> int:
        times = [engine.step_s(batch, batch * k, k, batch * context) * of / tokens for k, of in enumerate(steps)]
        return times.index(min(times))

    return tuple(best(batch) for batch in range(1, calibration.max_running + 1))

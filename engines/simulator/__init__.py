"""An engine without a model: the same contract, a known step time and known acceptance per task."""

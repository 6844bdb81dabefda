"""Pure decisions: the words, formulas, estimator, cost model and choice of pool, replica and k."""

"""Whether speculation changes what is said: greedy texts token for token, sampled texts by their distribution."""

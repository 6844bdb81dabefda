"""What a router adds: the same requests directly to an engine and through each router, in one interleaved run."""

"""What clients send and are told: bodies, heads, errors, streams, and the document that describes them."""

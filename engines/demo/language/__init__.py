"""The toy language of the demo pair: one file per task, each a function from a random source to a document."""

"""What is told of the traffic: metrics, logs, traces, the console's pages."""

"""The faces of the agent: HTTP, Prometheus, workers and the command line."""

"""What the agent knows and decides: model, ports and use cases."""

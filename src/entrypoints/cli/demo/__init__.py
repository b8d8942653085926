"""The demonstration: an agent and a small manager, each a process of its own, and a sample lab."""

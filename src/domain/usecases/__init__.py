"""What the agent does, in terms of its ports."""

"""Agents that are killed or let down in the midst of their work."""

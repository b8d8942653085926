"""The composition root: settings become adapters, adapters become use cases, these the agent.

The only package that names adapters.
"""

"""Compose projects through the ``docker compose`` command."""

"""Fuzzing of the whole API, driven by its own document: ``python -m tests.fuzz``."""

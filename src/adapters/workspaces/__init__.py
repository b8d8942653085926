"""Bundles and environments' folders on disk."""

"""The store's schema, one file for each version."""

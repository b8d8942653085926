"""The agent's records in an embedded SQLite file."""

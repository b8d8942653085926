"""One module for each outside thing behind a port, and beside each its in-memory twin."""

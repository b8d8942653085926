"""Container counters from the kernel's own files."""

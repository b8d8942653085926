"""The HTTP face: routes translate to one use case and back, and decide nothing."""

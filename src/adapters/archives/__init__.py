"""Archives from outside, looked at as they pass through: images, and what goes into volumes."""

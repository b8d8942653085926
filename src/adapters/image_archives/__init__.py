"""Archives of images that come from outside."""

"""Which entries of a list somebody wants to see."""

from collections.abc import Mapping, Sequence


def labelled(labels: Mapping[str, str], wanted: Sequence[str] | None) -> bool:
    """Whether labels are there, each as ``key`` or ``key=value``."""
    parts = [text.partition("=") for text in wanted or ()]
    return all(
        name in labels and (not sign or labels[name] == value) for name, sign, value in parts
    )

"""Keys that the manager signed."""

from typing import Protocol

from domain.keys import Claims


class SignedKeys(Protocol):
    """Verifies keys against the platform's secret."""

    def verify(self, key: str) -> Claims | None:
        """The claims of ``key``; None for anything but a valid, unexpired HS256 signature.

        Never raises, whatever the text. Not tied to this host: who asks compares the subject.
        """
        ...


class SameText(Protocol):
    """Compares two texts in a time that tells nothing of where they differ."""

    def __call__(self, one: str, other: str, /) -> bool:
        """Whether they are the same, whatever characters they hold."""
        ...

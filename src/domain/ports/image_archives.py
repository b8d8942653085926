"""Archives of images from outside, before the Engine sees them."""

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Sequence
from typing import Protocol

JudgeNames = Callable[[Sequence[str]], None]
"""Takes all the names that an archive gives to images; raises where it may not."""


class ImageArchives(Protocol):
    """Reads archives as they pass through."""

    def screened(
        self, archive: AsyncIterable[bytes], judge: JudgeNames, *, max_bytes: int
    ) -> AsyncGenerator[bytes, None]:
        """The same images in an archive that can be read in one way only.

        It is written anew from what was understood of the one that came; what names images is kept
        back until all the rest has passed and ``judge`` has returned. Memory does not grow with it.

        Args:
            archive: a tar as ``docker save`` writes it, plain or through gzip.
            judge: may raise, which ends it.
            max_bytes: how long it may be when unpacked.

        Raises:
            RequestUnreadable: it is no archive of images, or holds what none needs.
            RequestTooLarge: it is longer.
        """
        ...

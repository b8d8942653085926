"""The images of the Engine, one by one.

All may raise ``EngineUnavailable`` when the Engine does not answer, and ``EngineRefused`` when it
answers with an error of its own.
"""

from collections.abc import Sequence
from typing import Protocol

from domain.engine_images import EngineImage, ImageDetails, ImageRemoval


class EngineImages(Protocol):
    """All images of the host, whoever brought them."""

    async def list(self) -> Sequence[EngineImage]:
        """All images but those that are only steps of others, in their own order.

        One call, whatever their number.
        """
        ...

    async def inspect(self, reference: str) -> ImageDetails:
        """One image with its history.

        Raises:
            ResourceNotFound: there is none.
            ResourceAmbiguous: the reference is how several identifiers begin.
        """
        ...

    async def describe(self, identifiers: Sequence[str]) -> Sequence[ImageDetails]:
        """Several images, in the order they came; those that have gone meanwhile are left out."""
        ...

    async def tag(self, reference: str, target: str) -> None:
        """Lets the name ``target`` mean an image, whatever it meant before. May be repeated.

        Raises:
            ResourceNotFound: there is no image that ``reference`` means.
            RequestUnreadable: ``target`` can be no name.
        """
        ...

    async def remove(self, reference: str, *, force: bool = False) -> ImageRemoval:
        """Takes a name away, and the image with it when that was its last.

        An identifier takes the image with its only name. Layers that others need stay.

        Args:
            reference: the image.
            force: also where containers that do not run use it, or an identifier has many names.

        Raises:
            ResourceNotFound: there is none.
            ResourceConflict: a container uses it, or it has many names.
        """
        ...

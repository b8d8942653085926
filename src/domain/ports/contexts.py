"""What goes into a build."""

from collections.abc import Collection
from typing import Protocol

import msgspec


class BuildContext(msgspec.Struct, frozen=True, kw_only=True):
    """What one build reads from disk."""

    dockerfile: str
    """The text of the Dockerfile."""
    digest: str
    """Names the content: two contexts with the same files have the same one (hex SHA-256).

    Over the relative path, kind, permission bits and content of everything that the ignore file
    lets through, in a fixed order. Times and owners do not count.
    """
    holds: frozenset[str] = frozenset()
    """Which of the paths that were asked for lie in the context, and are not ignored."""


class BuildContexts(Protocol):
    """Reads what goes into builds."""

    async def read(
        self,
        directory: str,
        *,
        dockerfile: str | None,
        inline: str | None = None,
        apart: Collection[str] = (),
        within: str,
    ) -> BuildContext | None:
        """What a build of the folder ``directory`` reads.

        Args:
            directory: the context; absolute.
            dockerfile: the Dockerfile's path, absolute or relative to the context; None for
                ``Dockerfile``. A file named ``dockerfile`` stands in for ``Dockerfile``, as in
                BuildKit, where that one is missing.
            inline: the Dockerfile's own text, instead of a file.
            apart: absolute paths of files whose content is left out of ``digest`` and that are
                looked for in the context.
            within: nothing outside of this folder is ever read, nor any link followed; absolute.

        Returns:
            None where the context cannot be told: it is no folder within ``within``, or there is no
            Dockerfile. The build itself then says what is wrong.

        Raises:
            StorageFailed: the disk refuses.
        """
        ...

    async def dockerfile(
        self, directory: str, *, dockerfile: str | None, within: str
    ) -> str | None:
        """The text of the Dockerfile that ``read`` would find, without looking at the context.

        Returns:
            None where there is none, or none that could be told for sure: it is too large, or lies
            outside of ``within`` or behind a link.

        Raises:
            StorageFailed: the disk refuses.
        """
        ...

"""A Compose project as Compose itself resolved it, reduced to what the agent decides on."""

import msgspec


class ComposeService(msgspec.Struct, frozen=True, kw_only=True):
    """One service of a resolved project."""

    name: str
    image: str | None = None
    """The image it names; a service with a build may leave that to Compose."""
    builds: bool = False
    replicas: int = 1


class ComposeModel(msgspec.Struct, frozen=True, kw_only=True):
    """A resolved project."""

    services: tuple[ComposeService, ...]

    @property
    def containers(self) -> int:
        """How many containers it brings up."""
        return sum(service.replicas for service in self.services)

    @property
    def builds(self) -> bool:
        """Whether any image is built for it."""
        return any(service.builds for service in self.services)

    @property
    def pulled_images(self) -> tuple[str, ...]:
        """The images it takes as they are, each once, sorted."""
        return tuple(
            sorted({s.image for s in self.services if s.image is not None and not s.builds})
        )

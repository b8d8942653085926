"""Parameters of calls that mean the same wherever they stand, each with what it does."""

from typing import Annotated

from litestar.params import PathParameter, QueryParameter

# What is named in a path.

ContainerReference = Annotated[
    str, PathParameter(description="A container's name, or how its identifier begins.")
]
ImageReference = Annotated[
    str,
    PathParameter(
        description="A name, with its slashes as they are, or how an identifier begins. Names of "
        "one word that are also calls need their tag: `pull:latest`.",
    ),
]
NetworkReference = Annotated[
    str, PathParameter(description="A network's name, or how its identifier begins.")
]
VolumeReference = Annotated[
    str, PathParameter(description="A volume's name; of one that Docker made up, how it begins.")
]
VolumeName = Annotated[
    str, PathParameter(description="A volume's name, whole; it is made where there is none.")
]
EnvironmentInPath = Annotated[
    str,
    PathParameter(description="An environment's name: small letters, digits, `-` and `_`."),
]
OperationInPath = Annotated[
    str, PathParameter(description="An operation's identifier, as the change was answered with.")
]
BundleInPath = Annotated[
    str, PathParameter(description="A bundle's digest: `sha256:` and 64 hexadecimal digits.")
]
RegistryInPath = Annotated[
    str,
    PathParameter(
        description="A registry's address, with its port if need be: `docker.io`, `10.0.0.5:5000`."
    ),
]

# Which of a list.

Limit = Annotated[
    int, QueryParameter(ge=1, le=5000, description="How many are listed at most, of the first.")
]
Labels = Annotated[
    tuple[str, ...],
    QueryParameter(
        description="Only what has this label: `key`, or `key=value`. May come several times; then "
        "it must have them all."
    ),
]
NamePart = Annotated[str, QueryParameter(description="Only those with this in their names.")]
OfEnvironment = Annotated[
    str, QueryParameter(description="Only what belongs to the environment of this name.")
]
OfDriver = Annotated[str, QueryParameter(description="Only those of this driver.")]
Fresh = Annotated[
    bool,
    QueryParameter(
        description="`true` asks the Docker Engine now; else the answer is from the agent's own "
        "picture, which follows the Engine's events."
    ),
]

# How a change is made.

Force = Annotated[
    bool,
    QueryParameter(
        description="`true` does it also where an environment owns or needs what is changed; else "
        "that is refused (409)."
    ),
]
DryRun = Annotated[
    bool, QueryParameter(description="`true` only tells what would go, and removes nothing.")
]
OlderThan = Annotated[
    str | None,
    QueryParameter(
        description="Only what was made at least so long ago: seconds, or `30m`, `24h`, `1d12h`."
    ),
]
Grace = Annotated[
    int | None,
    QueryParameter(
        ge=0,
        le=300,
        description="After how many seconds it is killed; left out, what the container was made "
        "with, or Docker's ten.",
    ),
]

# Which part of a stream.

Since = Annotated[
    str | None,
    QueryParameter(
        description="Only what came from then on: a moment (`2026-01-31T12:00:00Z`, or UNIX "
        "seconds), or so long ago (`10m`)."
    ),
]
Until = Annotated[
    str | None,
    QueryParameter(description="Only what came before: a moment, or so long ago, as in `since`."),
]
Follow = Annotated[
    bool,
    QueryParameter(description="`true` goes on with what comes, until that ends or you leave."),
]
Timestamps = Annotated[
    bool, QueryParameter(description="`true` puts its moment before each line of plain text.")
]
Interval = Annotated[
    int, QueryParameter(ge=1, le=60, description="With `follow`, seconds from one to the next.")
]

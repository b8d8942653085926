"""Every way in which the agent can fail, one class each.

    AgentError
    ├── InvalidName              a name that no environment can have
    ├── BundleRefused            an archive or Compose file that cannot be deployed
    │   └── PolicyRefused        it asks for what this host does not allow
    ├── RequestTooLarge          a body beyond what the agent reads
    ├── RequestUnreadable        a body that is not what the call takes
    ├── RequestTooSlow           a body that does not come to its end in time
    ├── KeyRefused               no key, or not the right one
    ├── KeyExpired               the key was good when a stream or terminal was opened
    ├── EnvironmentNotFound      no environment of that name
    ├── EnvironmentExists        an environment of that name stands already
    ├── EnvironmentHeld          somebody holds the environment
    ├── BundleNotFound           no bundle of that digest
    ├── BundleInUse              a bundle that a change under way needs
    ├── DigestMismatch           a bundle that is not what its Content-Digest says
    ├── OperationNotFound        no operation of that identifier
    ├── KeyReused                an Idempotency-Key that came with another request before
    ├── NameTaken                a Compose project of that name runs that is somebody else's
    ├── OperationCancelled       a later request took this one's place
    ├── OperationNotCancellable  an operation that has ended, or must come to its end
    ├── OperationInterrupted     the agent stopped while it ran
    ├── RetryLater               what passes by itself, and when to try again
    │   ├── CapacityExceeded     the host has no room
    │   ├── NetworkPoolExhausted there are no more address ranges for networks
    │   ├── HostExhausted        the host has no memory, process, thread or file to spare
    │   ├── EngineUnavailable    the Docker Engine does not answer
    │   ├── NotAccepting         the agent is starting or stopping and takes no new work
    │   └── StoreUnavailable     the agent's own records cannot be read or written
    ├── StepFailed               a step of a deploy failed, with what it printed
    │   ├── StepTimedOut         a step of a deploy took too long
    │   └── StopFailed           containers run on that were told to stop
    ├── EngineRefused            the Docker Engine answered with an error
    │   └── EngineFull           its disk has no room
    ├── InvalidReference         text that can name nothing of the Engine
    ├── ResourceNotFound         nothing of that name or identifier
    ├── ResourceAmbiguous        a beginning that several identifiers share
    ├── ResourceConflict         what cannot be done to something as it is now
    ├── ResourceOwned            what would tear something from its environment
    ├── ImageRefused             an image that may not be pulled, named or loaded so
    ├── RegistryRefused          a registry that wants other credentials
    ├── ImageNotInRegistry       an image that no registry has
    ├── RegistryNotKept          a registry for which no credentials are kept
    ├── ChangeUnfinished         the Engine goes on with a change that takes too long
    ├── ConditionNotReached      what was waited for has not come in time
    ├── CommandNotStarted        a command that cannot be run in its container
    ├── StorageFull              the disk has no room
    └── StorageFailed            the disk refuses, for another reason than room

Messages say what happened to what; ``hint`` says what to try. Both are plain text without markup,
fit to be shown to the caller, and hold no secret.
"""

from collections.abc import Sequence

from domain.findings import Finding


class AgentError(Exception):
    """A failure with a stable ``code``, a message for people and, where there is one, a way out."""

    code: str = "agent-error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def detail(self) -> str:
        """Message and hint as one text."""
        if not self.hint:
            return self.message
        # What the Engine says seldom ends as a sentence does.
        stop = "" if self.message.endswith((".", "!", "?", ":", "\n")) else "."
        return f"{self.message}{stop} {self.hint}"


class InvalidName(AgentError):
    """A name that no environment can have."""

    code = "invalid-name"


class BundleRefused(AgentError):
    """An archive or Compose file that cannot be deployed as it is."""

    code = "bundle-refused"


class PolicyRefused(BundleRefused):
    """A bundle, or what ``asker`` names, asks for what this host does not allow.

    ``findings`` holds all of it.
    """

    code = "policy-refused"

    def __init__(self, findings: tuple[Finding, ...], *, asker: str = "bundle") -> None:
        count = "one thing" if len(findings) == 1 else f"{len(findings)} things"
        super().__init__(f"The {asker} asks for {count} that this host does not allow.")
        self.findings = findings

    @property
    def detail(self) -> str:
        """The refusal followed by each finding, one a line."""
        return "\n".join((super().detail, *(finding.sentence for finding in self.findings)))


class RequestTooLarge(AgentError):
    """A body beyond what the agent reads."""

    code = "request-too-large"


class RequestUnreadable(AgentError):
    """A body that is not what the call takes."""

    code = "request-unreadable"


class RequestTooSlow(AgentError):
    """A body that does not come to its end in time."""

    code = "request-too-slow"


class KeyRefused(AgentError):
    """No key, or not the right one; always in the same words, so that nothing can be learned."""

    code = "key-refused"

    def __init__(self) -> None:
        super().__init__(
            "This call needs the host's server key.",
            hint="Send it in the X-Server-Key header.",
        )


class KeyExpired(AgentError):
    """A key that was good when something was opened with it is good no more."""

    code = "key-expired"

    def __init__(self) -> None:
        super().__init__(
            "The key that this was opened with has expired.", hint="Come back with a newer one."
        )


class EnvironmentNotFound(AgentError):
    """No environment of that name."""

    code = "environment-not-found"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no environment named {name!r} on this host.")


class EnvironmentExists(AgentError):
    """An environment of that name stands already, or is being deployed."""

    code = "environment-exists"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"An environment named {name!r} is on this host already.",
            hint=f"Take another name, or replace it with PUT /api/v1/environments/{name}.",
        )


class EnvironmentHeld(AgentError):
    """Somebody holds the environment."""

    code = "environment-held"

    def __init__(self, name: str, owner: str, reason: str) -> None:
        super().__init__(
            f"Environment {name!r} is held by {owner}: {reason}.",
            hint="Take the hold away first, or add ?force=true.",
        )


class BundleNotFound(AgentError):
    """No bundle of that digest."""

    code = "bundle-not-found"

    def __init__(self, digest: str) -> None:
        super().__init__(
            f"There is no bundle {digest!r} on this host.", hint="Upload it: POST /api/v1/bundles."
        )


class BundleInUse(AgentError):
    """A bundle that a change under way needs."""

    code = "bundle-in-use"

    def __init__(self, digest: str) -> None:
        super().__init__(
            f"Bundle {digest} is being deployed or built.", hint="Try again when that has ended."
        )


class DigestMismatch(AgentError):
    """A bundle that is not what its Content-Digest says."""

    code = "digest-mismatch"

    def __init__(self, received: str) -> None:
        super().__init__(
            f"What was received has the digest {received}, which is not what Content-Digest says.",
            hint="It was changed on its way, or the header belongs to another file: send it again.",
        )


class OperationNotFound(AgentError):
    """No operation of that identifier."""

    code = "operation-not-found"

    def __init__(self, operation: str) -> None:
        super().__init__(
            f"There is no operation {operation[:80]!r}.",
            hint="Records of ended operations go after OPERATION_TTL.",
        )


class KeyReused(AgentError):
    """An Idempotency-Key that came with another request before."""

    code = "idempotency-key-reused"

    def __init__(self) -> None:
        super().__init__(
            "This Idempotency-Key came with another request before.",
            hint="Make a new key for each request that is not a repetition.",
        )


class NameTaken(AgentError):
    """A Compose project of that name runs that is none of the agent's."""

    code = "name-taken"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"A Compose project named {name!r} runs on this host that is not the agent's.",
            hint="Take another name, or remove that project.",
        )


class OperationCancelled(AgentError):
    """A later request took this operation's place."""

    code = "operation-cancelled"


class OperationNotCancellable(AgentError):
    """An operation that has ended, or must come to its end."""

    code = "operation-not-cancellable"

    def __init__(self, operation: str, why: str) -> None:
        super().__init__(f"Operation {operation} cannot be cancelled: {why}.")


class OperationInterrupted(AgentError):
    """The agent stopped while the operation ran."""

    code = "operation-interrupted"


class RetryLater(AgentError):
    """A failure that passes by itself; ``retry_after`` is in seconds."""

    code = "retry-later"

    def __init__(self, message: str, *, hint: str = "", retry_after: int = 5) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class CapacityExceeded(RetryLater):
    """The host has no room for what was asked."""

    code = "capacity-exceeded"


class NetworkPoolExhausted(RetryLater):
    """There are no more address ranges for networks."""

    code = "network-pool-exhausted"

    def __init__(self, pool: str) -> None:
        super().__init__(
            f"The host's address pool {pool} (NETWORK_POOL) has no range left for another network.",
            hint="Remove an environment, set a larger pool, or deploy on another host.",
            retry_after=30,
        )


class HostExhausted(RetryLater):
    """The host has no memory, process, thread or file to spare."""

    code = "host-exhausted"

    def __init__(self, lacking: str) -> None:
        super().__init__(
            f"The host has run out of {lacking}.",
            hint="Try again shortly; if it lasts, see what else runs on the host, or raise the "
            "agent's limits (memory, pids, open files).",
            retry_after=10,
        )


class EngineUnavailable(RetryLater):
    """The Docker Engine does not answer."""

    code = "engine-unavailable"


class NotAccepting(RetryLater):
    """The agent is starting or stopping and takes no new work."""

    code = "not-accepting"


class StoreUnavailable(RetryLater):
    """The agent's own records cannot be read or written."""

    code = "store-unavailable"


class StepFailed(AgentError):
    """A step of a deploy failed; ``output`` holds the last lines it printed."""

    code = "step-failed"

    def __init__(self, step: str, message: str, *, output: tuple[str, ...] = ()) -> None:
        # Steps are often members of an enumeration, whose own form means nothing to a reader.
        self.step = str(step)
        super().__init__(f"Step {self.step!r} failed: {message}")
        self.output = output

    @property
    def detail(self) -> str:
        """The failure followed by the last lines of output, one a line."""
        return "\n".join((super().detail, *self.output))


class StepTimedOut(StepFailed):
    """A step of a deploy took longer than it may."""

    code = "step-timed-out"


class StopFailed(StepFailed):
    """Containers run on that were told to stop and then to be killed."""

    code = "stop-failed"

    def __init__(self, running: Sequence[str], *, output: tuple[str, ...] = ()) -> None:
        super().__init__(
            "stop", "containers run on that were told to stop and then to be killed.", output=output
        )
        self.hint = f"Still running: {', '.join(running)}. The Engine's log may tell what holds it."


class EngineRefused(AgentError):
    """The Docker Engine answered with an error.

    ``status`` is that of its answer, where there was one, and ``reason`` its own words.
    """

    code = "engine-refused"

    def __init__(
        self, message: str, *, hint: str = "", status: int | None = None, reason: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.reason = reason


class EngineFull(EngineRefused):
    """The Docker Engine has no room on its disk for what it was asked for."""

    code = "storage-full"


class InvalidReference(AgentError):
    """Text that can name no container, image, network or volume."""

    code = "invalid-reference"

    def __init__(self, kind: str, text: str) -> None:
        shown = text if len(text) <= 80 else f"{text[:80]}…"
        super().__init__(
            f"{shown!r} cannot name {_an(kind)} {kind}.",
            hint="Use its name, or the beginning of its identifier.",
        )


class ResourceNotFound(AgentError):
    """No container, image, network, volume or process of that name or identifier."""

    code = "resource-not-found"

    def __init__(
        self, kind: str, reference: str, *, hint: str = "", place: str = "on this host"
    ) -> None:
        super().__init__(f"There is no {kind} {reference!r} {place}.", hint=hint)


class ResourceAmbiguous(AgentError):
    """A beginning that several identifiers share."""

    code = "resource-ambiguous"

    def __init__(self, kind: str, reference: str) -> None:
        super().__init__(
            f"More than one {kind} has an identifier that begins with {reference!r}.",
            hint="Use more of it, or the name.",
        )


class ResourceConflict(AgentError):
    """What was asked cannot be done to something as it is now; holds the Engine's reason."""

    code = "resource-conflict"


class ChangeUnfinished(AgentError):
    """The Engine has not come to the end of a change in time, and goes on with it."""

    code = "change-unfinished"


class ConditionNotReached(AgentError):
    """What was waited for has not come in time."""

    code = "condition-not-reached"


class CommandNotStarted(AgentError):
    """A command that cannot be run in its container; holds the runtime's reason."""

    code = "command-not-started"

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The command cannot be run in the container: {reason.rstrip('. ')}.",
            hint="Program, user and folder must be there in the container itself.",
        )


class ResourceOwned(AgentError):
    """What was asked would tear something from its environment."""

    code = "resource-of-environment"

    def __init__(self, kind: str, name: str, environment: str) -> None:
        super().__init__(
            f"{kind.capitalize()} {name!r} belongs to environment {environment!r}.",
            hint="Change the environment instead, or add ?force=true.",
        )


class ImageRefused(AgentError):
    """An image that may not be pulled, named or loaded so on this host."""

    code = "image-refused"


class RegistryRefused(AgentError):
    """A registry does not give an image to whoever asks with these credentials, or without any."""

    code = "registry-refused"

    def __init__(self, registry: str, reason: str) -> None:
        super().__init__(
            f"The registry {registry} refuses: {reason}",
            hint="Send the right credentials with the request, or keep them with "
            f"PUT /api/v1/registries/{registry}.",
        )


class ImageNotInRegistry(AgentError):
    """A registry has no such image, or does not tell strangers that it has."""

    code = "image-not-in-registry"

    def __init__(self, reference: str, reason: str) -> None:
        super().__init__(f"No registry gave image {reference!r}: {reason}")


class RegistryNotKept(AgentError):
    """No credentials are kept for a registry."""

    code = "registry-not-kept"

    def __init__(self, registry: str) -> None:
        super().__init__(f"No credentials are kept for the registry {registry!r}.")


def _an(kind: str) -> str:
    return "an" if kind[:1] in "aeiou" else "a"


class StorageFull(AgentError):
    """The disk has no room, in bytes or in inodes."""

    code = "storage-full"


class StorageFailed(AgentError):
    """The disk refuses, for another reason than room.

    ``blocked_by`` names a folder with files of other users, where those are the reason.
    """

    code = "storage-failed"

    def __init__(self, message: str, *, hint: str = "", blocked_by: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.blocked_by = blocked_by

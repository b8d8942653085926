"""What agents do that may be cut off: how it begins, what is done, and whom it concerns."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from domain.operations import Step
from tests.crashes import acts
from tests.crashes.acts import LAB, OTHER, Act, changed, launch, put, uploaded


@dataclass(frozen=True)
class Scenario:
    """Something that an agent does."""

    name: str
    act: Act
    before: tuple[Act, ...] = ()
    """What was done before it began."""
    first: Act | None = None
    """What is done first of two things, and may be all that was done when it is cut off."""
    concerns: tuple[str, ...] = (LAB,)
    ready: bool = True
    """Whether the agent has recovered when it begins; else that is what it does."""
    whole: bool = True
    """Whether it is done wholly or not at all, also when what the agent stands on fails."""
    short: bool = False
    """Whether it is short enough to be killed twice."""

    def __str__(self) -> str:
        return self.name


def _kept(*archives: bytes) -> tuple[Act, ...]:
    return tuple(partial(uploaded, archive=archive) for archive in archives)


_UPLOADED = _kept(acts.RICH)
_STANDING: tuple[Act, ...] = (
    *_UPLOADED,
    partial(put, archive=acts.RICH),
    acts.leave_something,
)
_STOPPED: tuple[Act, ...] = (*_STANDING, partial(changed, what="stop"))
_SECRET: tuple[Act, ...] = (partial(launch, archive=acts.SECRET), acts.leave_something)
_EARLIER_AGENTS: tuple[Act, ...] = (acts.earlier_agents, acts.recover, acts.leave_something)
_BOTH = (LAB, OTHER)


def _first(name: str, archive: bytes, *before: Act, short: bool = False) -> Scenario:
    act = partial(launch, archive=archive)
    return Scenario(f"first deploy, {name}", act, before=before, short=short)


def _again(name: str, archive: bytes, before: tuple[Act, ...] = _STANDING) -> Scenario:
    act = partial(put, archive=archive)
    return Scenario(f"redeploy, {name}", act, before=(*before, *_kept(archive)))


def _changed(name: str, before: tuple[Act, ...] = _STANDING) -> Scenario:
    act = partial(changed, what=name.partition(",")[0])
    return Scenario(name, act, before=before, whole=False, short=True)


def _cut(
    name: str,
    act: Callable[..., Awaitable[None]],
    step: Step,
    before: tuple[Act, ...] = _UPLOADED,
) -> Scenario:
    act = partial(act, step=step)
    first = partial(put, archive=acts.RICH)
    return Scenario(f"{name}, in {step}", act, before=before, first=first, whole=False)


def _two(name: str, second: bytes) -> Scenario:
    act = partial(acts.two_at_once, second=second)
    return Scenario(name, act, before=_kept(acts.SHARED, second), concerns=_BOTH)


def _alone(name: str, act: Act, *before: Act) -> Scenario:
    """What concerns no environment."""
    before = (acts.image_at_hand, *before)
    return Scenario(name, act, before=before, concerns=(), whole=False, short=True)


SCENARIOS = (
    _first("nothing to build", acts.PLAIN, short=True),
    _first("everything", acts.RICH),
    _first("with a secret in its own image", acts.SECRET),
    _first("image at hand", acts.RICH, uploaded, acts.built_ahead),
    _first("after a failed one", acts.PLAIN, partial(launch, archive=acts.MISSING)),
    _first("that fails in build", acts.RICH_BROKEN),
    _first("that fails in start", acts.RICH_MISSING),
    _first("that fails as a port is taken", acts.RICH_PORT_TAKEN, acts.occupy_port),
    _first("that is refused", acts.FORBIDDEN, short=True),
    Scenario("upload and first deploy", partial(acts.put_with_upload, archive=acts.RICH)),
    _again("same images", acts.RICH),
    _again("new images", acts.RICH_AGAIN),
    _again("services and networks renamed", acts.RICH_RENAMED),
    _again("a secret again", acts.SECRET_AGAIN, _SECRET),
    _again("of a stopped one", acts.RICH_AGAIN, _STOPPED),
    _again("of an earlier agent's", acts.RICH, _EARLIER_AGENTS),
    _again("that fails in build", acts.RICH_BROKEN),
    _again("that fails in start", acts.RICH_MISSING),
    _again("that fails as a port is taken", acts.RICH_PORT_TAKEN, (*_STANDING, acts.occupy_port)),
    _again("that is refused", acts.RICH_FORBIDDEN),
    _again("of one with a secret, that fails in start", acts.RICH_MISSING, _SECRET),
    _again("of an earlier agent's, that fails in start", acts.RICH_MISSING, _EARLIER_AGENTS),
    Scenario("delete", acts.delete, before=_STANDING, short=True),
    Scenario("delete, of one with a secret", acts.delete, before=_SECRET),
    Scenario("delete, of an earlier agent's", acts.delete, before=_EARLIER_AGENTS),
    _cut("delete while deploying", acts.delete_while_deploying, Step.UNPACK),
    _cut("delete while deploying", acts.delete_while_deploying, Step.BUILD),
    _cut("delete while deploying", acts.delete_while_deploying, Step.START),
    _cut("delete while replacing", acts.delete_while_deploying, Step.STOP, _STANDING),
    _cut("delete while replacing", acts.delete_while_deploying, Step.START, _STANDING),
    _changed("start", _STOPPED),
    _changed("stop"),
    _changed("restart"),
    _changed("rebuild"),
    _changed("reset"),
    _changed("rebuild, with a secret", _SECRET),
    _changed("rebuild, of an earlier agent's", _EARLIER_AGENTS),
    Scenario("upload", uploaded, concerns=(), short=True),
    Scenario("upload of what is there", uploaded, before=(uploaded,), concerns=(), short=True),
    Scenario("look into a bundle", acts.looked_into, before=(uploaded,), concerns=(), short=True),
    Scenario("removal of a bundle", acts.removed_bundle, before=(uploaded,), concerns=()),
    Scenario("build ahead", acts.built_ahead, before=(uploaded,), concerns=(), short=True),
    Scenario("expiry", acts.look_at_lifetimes, before=(*_STANDING, acts.expires), short=True),
    Scenario("taking over", acts.recover, before=(acts.earlier_agents,), ready=False, whole=False),
    Scenario("change of labels", acts.patched, before=_STANDING, short=True),
    Scenario(
        "change of labels while replaced",
        acts.patched_while_replaced,
        before=(*_STANDING, *_kept(acts.RICH_MISSING)),
    ),
    _cut("cancel", acts.cancel, Step.UNPACK),
    _cut("cancel", acts.cancel, Step.BUILD),
    _cut("cancel", acts.cancel, Step.START),
    _cut("cancel of a redeploy", acts.cancel, Step.START, _STANDING),
    _alone("making of a single container", acts.made_alone),
    _alone("restart of a single container", acts.restarted_alone, acts.made_alone),
    _alone("removal of a single container", acts.removed_alone, acts.made_alone),
    _alone("keeping of credentials", acts.credentials_kept),
    _two("two at once", acts.SHARED),
    _two("two at once, one fails in start", acts.SHARED_MISSING),
    _two("two at once, one fails in build", acts.SHARED_BROKEN),
)

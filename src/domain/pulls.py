"""Pulls of images, and how far they have come."""

from collections.abc import Iterable

import msgspec

_WAITING = frozenset({"Pulling fs layer", "Waiting"})
_LOADED = frozenset({"Verifying Checksum", "Download complete"})
_DONE = frozenset({"Pull complete", "Already exists"})


class PullStep(msgspec.Struct, frozen=True, kw_only=True):
    """What the Engine tells of a pull."""

    layer: str
    """Beginning of the layer's digest; empty where it is about the whole."""
    status: str
    """The Engine's own words: `Downloading`, `Extracting`, `Pull complete`."""
    current_bytes: int | None = None
    total_bytes: int | None = None


class LayerProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far one layer has come."""

    id: str
    """How its digest begins."""
    status: str
    """In the Engine's words: `Downloading`, `Extracting`, `Pull complete`, `Already exists`, …"""
    downloaded_bytes: int = 0
    extracted_bytes: int = 0
    total_bytes: int | None = None
    """As it is sent, compressed; null until its download has begun."""

    @property
    def done(self) -> bool:
        """Whether it is at hand."""
        return self.status in _DONE

    @property
    def share(self) -> float:
        """How much of it is done; loading and unpacking count half each."""
        if self.done:
            return 1.0
        if not self.total_bytes:
            return 0.5 if self.status in _LOADED else 0.0
        return min(1.0, (self.downloaded_bytes + self.extracted_bytes) / (2 * self.total_bytes))

    def after(self, step: PullStep) -> "LayerProgress":
        """The same layer when the Engine has told more of it."""
        total = step.total_bytes or self.total_bytes
        downloaded, extracted = self.downloaded_bytes, self.extracted_bytes
        if step.status == "Downloading":
            downloaded = step.current_bytes or 0
        elif step.status == "Extracting":
            downloaded, extracted = total or downloaded, step.current_bytes or extracted
        elif step.status in _LOADED:
            downloaded = total or downloaded
        elif step.status == "Pull complete":
            downloaded, extracted = total or downloaded, total or extracted
        elif step.status in _WAITING or step.status.startswith("Retrying"):
            downloaded = extracted = 0
        return LayerProgress(
            id=self.id,
            status=step.status,
            downloaded_bytes=downloaded,
            extracted_bytes=extracted,
            total_bytes=total,
        )


class PullProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a pull has come; each one holds all there is to know."""

    percent: int = 0
    """Of all that is to be loaded and unpacked; never falls."""
    downloaded_bytes: int = 0
    total_bytes: int = 0
    """Of the layers whose size is known by now; grows as their downloads begin."""
    layers_done: int = 0
    layers: tuple[LayerProgress, ...] = ()

    def after(self, step: PullStep) -> "PullProgress":
        """The progress when the Engine has told more."""
        if not step.layer:
            return self
        layers = {layer.id: layer for layer in self.layers}
        known = layers.get(step.layer, LayerProgress(id=step.layer, status=""))
        layers[step.layer] = known.after(step)
        return _of(tuple(layers.values()), at_least=self.percent)


class PulledImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image that was pulled."""

    reference: str
    """By which it was asked for."""
    id: str
    """The Engine's identifier."""
    digest: str
    """By which the registry knows it."""
    updated: bool
    """Whether anything new came; not so where it was at hand already."""


def _of(layers: tuple[LayerProgress, ...], *, at_least: int) -> PullProgress:
    return PullProgress(
        percent=max(at_least, _percent([x for x in layers if x.status != "Already exists"])),
        downloaded_bytes=sum(layer.downloaded_bytes for layer in layers),
        total_bytes=sum(layer.total_bytes or 0 for layer in layers),
        layers_done=sum(layer.done for layer in layers),
        layers=layers,
    )


def _percent(layers: Iterable[LayerProgress]) -> int:
    """By bytes; a layer whose size is not known yet counts as an average one."""
    layers = tuple(layers)
    known = [layer.total_bytes for layer in layers if layer.total_bytes]
    average = sum(known) / len(known) if known else 1.0
    whole = sum(layer.total_bytes or average for layer in layers)
    done = sum(layer.share * (layer.total_bytes or average) for layer in layers)
    # It is done when the Engine says so, and not before.
    return min(99, int(100 * done / whole)) if whole else 0

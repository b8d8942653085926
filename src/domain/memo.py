"""What is known of an environment, kept beside its model: records that are lost are made of it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from domain.compose_model import Document
from domain.environments import Environment, EnvironmentState
from domain.images import REPOSITORY

MEMO_KEY = "x-container-host-agent"
"""The key of a model that Compose leaves alone."""

# Tells of the moment, or of what went wrong at some time; not of what the environment is.
_PASSING: Mapping[str, Any] = {
    "state": EnvironmentState.STOPPED,
    "operation": None,
    "reason": "",
    "last_error": "",
    "warned": False,
}


def lasting(record: Environment) -> Environment:
    """What of a record is worth keeping beside the model."""
    return msgspec.structs.replace(record, **_PASSING, updated_at=record.created_at)


def with_memo(document: Document, record: Environment) -> Document:
    """A model that remembers the record of its environment."""
    return {**document, MEMO_KEY: msgspec.to_builtins(lasting(record))}


def without_memo(document: Document) -> Document:
    """A model as a stranger wrote it, without what would be taken for the agent's own memory."""
    return {key: value for key, value in document.items() if key != MEMO_KEY}


def remembered(document: Document) -> Environment | None:
    """The record that a model remembers; None where it remembers none that this agent can read.

    Its images are those of the model itself, which is what runs.
    """
    try:
        record = msgspec.convert(document.get(MEMO_KEY), Environment)
    except msgspec.ValidationError:
        return None
    images = {
        service: image
        for service in record.images
        if (image := _image(document, service)).startswith(f"{REPOSITORY}/")
    }
    return running(msgspec.structs.replace(record, images=images), document)


def running(record: Environment, document: Document) -> Environment:
    """A record whose services run the images that a model names, and need no others."""
    services = tuple(
        msgspec.structs.replace(service, image=_image(document, service.name) or service.image)
        for service in record.services
    )
    return msgspec.structs.replace(record, services=services)


def _image(document: Document, service: str) -> str:
    return str((document["services"].get(service) or {}).get("image", ""))


def restored(record: Environment, state: EnvironmentState, at: datetime) -> Environment:
    """A record made anew, in the state that its containers show."""
    return msgspec.structs.replace(record, state=state, updated_at=at)

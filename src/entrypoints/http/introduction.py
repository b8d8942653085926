"""What a reader of the API has to know before its calls: the beginning of the OpenAPI document."""

from litestar.openapi.spec import Tag

DESCRIPTION = """\
Deploys and watches labs on one Docker host, and lets its containers, images, networks and volumes
be managed one by one.

## Who may call

Calls want the host's key in the header `X-Server-Key`: `SERVER_KEY` itself, or a token that is
signed with `JWT_SECRET` (HS256) and whose `sub` is `HOST_ID`. Anything else gets 401, always in
the same words. `/health` and `/ready` are open. `/metrics`, `/system/…` and these pages want the
key only with `MONITORING_AUTH=true`, and then take it as `Authorization: Bearer …`, too.

## How it answers

Answers are JSON. What is named in a path may be a name or, as for Docker, how an identifier
begins. HEAD is answered wherever GET is. Lists have a stable order and a `limit`. What belongs to
an environment is changed by calls on single things only with `force=true`; else they answer 409.

Failures are problem documents (RFC 9457, `application/problem+json`): `detail` says what happened
to what, and what to do; `type` names the kind, for programs; `errors` lists every finding of a
policy. 503 means not now, and `Retry-After` says when; it is also the answer while the Docker
Engine is away. 422 is a request that can never be granted as it is; also one with a parameter in
its query that the call does not have, or with a body where it takes none, so that a misspelt
`dry_run` never removes anything.

## Changes of environments

They are answered with 202 and an operation, which goes on whatever the caller does: follow its
events, or ask with `Prefer: wait=60` for an answer when it has ended. The same `Idempotency-Key`
gives the same operation again.

## Streams

Logs, stats, events, pulls and operations come as they happen. `Accept: text/event-stream` asks
for Server-Sent Events: each has a kind (`event:`) and one line of JSON (`data:`); the last is
`end`, and a comment comes now and then where nothing happens. `Accept: application/x-ndjson` asks
for a line of JSON each. Who reads too slowly loses the oldest and is told so. With curl, `-N`
shows them at once.

## WebSocket

`GET /api/v1/containers/{reference}/exec/terminal` is the one call over a WebSocket (RFC 6455),
with `X-Server-Key` in its handshake: binary messages are input and output, text messages are JSON
and change the terminal's size or tell how the command ended. A handshake that is refused is
answered with a status and a problem, as any call is."""

TAGS = [
    Tag(name="environments", description="Labs: deployed from bundles, changed and removed whole."),
    Tag(name="bundles", description="Archives with a Compose file, which labs are made of."),
    Tag(name="operations", description="Changes of environments and bundles: how far they are."),
    Tag(name="containers", description="Single containers, of environments or by themselves."),
    Tag(name="images", description="Images of the host: from registries and archives, and back."),
    Tag(name="registries", description="Credentials that are kept for registries; never shown."),
    Tag(name="networks", description="Networks of the host, and who is in them."),
    Tag(name="volumes", description="Volumes of the host: who mounts them, and what they hold."),
    Tag(name="events", description="What happens on the host, of Docker's doing and the agent's."),
    Tag(name="system", description="The agent and its host: health, load, disk, consistency."),
    Tag(name="audit", description="Who asked for which change."),
    Tag(name="manager", description="The calls of the platform's manager."),
]
"""Kinds of calls, in the order in which a reader wants them."""

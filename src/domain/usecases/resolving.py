"""Lets projects through the gate, and remembers what came of a bundle that is deployed often."""

from collections import OrderedDict
from collections.abc import Mapping

import anyio
import msgspec

from domain.arrangement import relocated
from domain.compose_model import ComposeModel, compose_model
from domain.names import BundleDigest, OperationId
from domain.ports.compose import Project
from domain.ports.workspaces import Workspaces
from domain.usecases.gate import Gate

AT_ONCE = 2
"""How many projects are resolved at once: so the first of many start while others wait."""

MOST_REMEMBERED = 64

MOST_REMEMBERED_BYTES = 16 * 1024 * 1024
"""How much all that is remembered may take up."""

# Stands for the folder of the project in what is remembered.
_ANYWHERE = "/bundle"

_Key = tuple[BundleDigest, frozenset[tuple[str, str]]]


class Resolving:
    """Resolves projects."""

    def __init__(self, gate: Gate, workspaces: Workspaces) -> None:
        self._gate = gate
        self._workspaces = workspaces
        self._slots = anyio.Semaphore(AT_ONCE)
        self._remembered: OrderedDict[_Key, bytes] = OrderedDict()
        self._remembered_bytes = 0

    async def model(
        self,
        operation: OperationId,
        project: Project,
        bundle: BundleDigest,
        variables: Mapping[str, str],
    ) -> ComposeModel:
        """A staged project as Compose reads it, judged.

        What is remembered was read under another name: what of it depends on the name is for
        ``arranged`` to set.

        Raises:
            PolicyRefused: it asks for what this host does not allow.
            BundleRefused: its files cannot be read for sure.
            StepFailed: Compose cannot read it.
        """
        key = (bundle, frozenset(variables.items()))
        if known := self._recall(key, project):
            return known
        async with self._slots:
            # Somebody may have resolved the same while this one waited.
            if known := self._recall(key, project):
                return known
            model = await self._gate.model(operation, project, variables)
            if await self._workspaces.reads_the_same_anywhere(operation, project):
                self._remember(key, project, model)
        return model

    def _recall(self, key: _Key, project: Project) -> ComposeModel | None:
        document = self._remembered.get(key)
        if document is None:
            return None
        self._remembered.move_to_end(key)
        return compose_model(relocated(msgspec.json.decode(document), _ANYWHERE, project.directory))

    def _remember(self, key: _Key, project: Project, model: ComposeModel) -> None:
        # As text, which takes a tenth of the memory of what it stands for.
        document = msgspec.json.encode(relocated(model.document, project.directory, _ANYWHERE))
        # Somebody may have resolved the same at the same time.
        self._remembered_bytes += len(document) - len(self._remembered.pop(key, b""))
        self._remembered[key] = document
        while (
            len(self._remembered) > MOST_REMEMBERED
            or self._remembered_bytes > MOST_REMEMBERED_BYTES
        ):
            _, forgotten = self._remembered.popitem(last=False)
            self._remembered_bytes -= len(forgotten)

"""Copies of single files and folders of a bundle, each where no container can take it away.

They lie in ``<environment>.<operation>`` and stay there: the model that names them tells whether
they are needed.
"""

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from adapters.workspaces.removal import remove_tree

_NUMBER = re.compile(r"\[Errno (\d+)\]")


def copy_apart(staged: Path, target: Path, paths: Mapping[str, str]) -> None:
    """Copies parts of a staged project, which holds no links; what is missing becomes a folder.

    Args:
        staged: the project.
        target: the folder of the copies, not made yet.
        paths: name of the copy → path in the project.

    Raises:
        OSError: the disk refuses.
    """
    target.mkdir(mode=0o755, parents=True)
    for name, path in paths.items():
        source = staged / path
        if source.is_file():
            shutil.copy2(source, target / name)
        elif source.is_dir():
            _copy_folder(source, target / name)
        else:
            (target / name).mkdir()


def _copy_folder(source: Path, target: Path) -> None:
    try:
        shutil.copytree(source, target)
    except shutil.Error as faults:
        # Of what it went on after, the library tells in words only.
        number = _NUMBER.search(str(faults))
        if number is None:
            raise
        code = int(number[1])
        raise OSError(code, os.strerror(code), str(target)) from faults


def drop_unused(apart: Path, models: Path, operations: Path) -> None:
    """Removes the copies that no model names and no operation under way has made.

    Raises:
        OSError: the disk refuses.
    """
    folders = list(apart.iterdir())
    if not folders:
        return
    named = tuple(_texts(models, operations))
    for folder in folders:
        operation = folder.name.rpartition(".")[2]
        needed = any(folder.name.encode() in text for text in named)
        if not needed and not (operations / operation).exists():
            remove_tree(folder)


def _texts(models: Path, operations: Path) -> Iterator[bytes]:
    """Models that run, and those that are brought back if an operation under way fails."""
    for path in (*models.glob("*.json"), *operations.glob("*/previous.json")):
        try:
            yield path.read_bytes()
        except FileNotFoundError:
            continue

"""Runs benchmarks: ``python -m benchmarks NAME``, or ``all`` of them."""

import os
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

from tests.support import engine

from benchmarks import (
    again,
    counters,
    deploy,
    engine_return,
    fleet,
    followers,
    labs,
    listing,
    many,
    recovery,
    rest,
    rush,
    upload,
)

_BENCHMARKS = {
    "deploy": deploy.run,
    "many": many.run,
    "upload": upload.run,
    "again": again.run,
    "fleet": fleet.run,
    "queue": rush.run,
    "recovery": recovery.run,
    "return": engine_return.run,
    "listing": listing.run,
    "counters": counters.run,
    "rest": rest.run,
    "followers": followers.run,
}

_WITHOUT_ENGINE = {"fleet", "queue", "recovery", "return"}
"""Or with one of their own."""


def main(arguments: list[str]) -> int:
    """The exit code: 0, whatever was measured; 2 where nothing could be."""
    if len(arguments) != 1 or arguments[0] not in {*_BENCHMARKS, "all"}:
        print(f"Usage: python -m benchmarks {'|'.join([*_BENCHMARKS, 'all'])}", file=sys.stderr)
        return 2
    names = list(_BENCHMARKS) if arguments[0] == "all" else arguments
    if not _WITHOUT_ENGINE.issuperset(names) and (reason := engine.missing() or _prepare()):
        print(f"Nothing was measured: {reason}.", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        _run(names)
    except KeyboardInterrupt:
        print("Interrupted; what was made is removed.", file=sys.stderr)
        return 130
    return 0


def _prepare() -> str:
    """Why there is no image to run; otherwise tells what is measured on."""
    api = labs.client()
    try:
        version = api.version()["Version"]
        print(f"Docker Engine {version}, {os.cpu_count()} CPUs. Names begin with {labs.RUN}.")
        return engine.provide_base_image(api)
    finally:
        api.close()


def _run(names: list[str]) -> None:
    for name in names:
        with TemporaryDirectory(prefix=labs.RUN) as folder:
            try:
                _BENCHMARKS[name](Path(folder))
            finally:
                if name not in _WITHOUT_ENGINE:
                    labs.clear()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


sys.exit(main(sys.argv[1:]))

"""Runs every test: ``python -m tests``.

First those that need no Docker Engine, in parallel, the quick ones before the long ones; then,
where an Engine answers, the rest. With ``REQUIRE_ENGINE=1`` a missing Engine is a failure.
"""

import subprocess
import sys

from tests.support import engine


def _pytest(*arguments: str) -> int:
    command = [sys.executable, "-m", "pytest", "--quiet", *arguments, *sys.argv[1:]]
    return subprocess.run(command, check=False).returncode


def main() -> int:
    """The exit code of the whole."""
    print("Tests without a Docker Engine:", flush=True)
    code = _pytest("-m", "not engine and not long", "-n", "auto")
    print("Long tests without a Docker Engine:", flush=True)
    code = code or _pytest("-m", "long and not engine", "-n", "auto")
    if reason := engine.missing():
        print(f"Tests with a Docker Engine were not run: {reason}.", flush=True)
        return code or int(engine.REQUIRED)
    print(f"Tests with the Docker Engine at {engine.SOCKET}:", flush=True)
    with engine.built_images_removed():
        return code or _pytest("-m", "engine", "-n", "2")


sys.exit(main())

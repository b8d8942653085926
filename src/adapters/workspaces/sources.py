"""stub"""

from typing import Any

import yaml


def read_documents(text: bytes, *, name: str = "") -> tuple[Any, ...]:
    return tuple(yaml.safe_load_all(text))

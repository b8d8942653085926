"""The failures of the agent, and the picture of them."""

import re

from domain import errors


def test_the_picture_of_all_failures_shows_each_below_its_kind() -> None:
    shown: dict[str, str] = {}
    above = {0: "AgentError"}
    for lead, name in re.findall(r"^    ([│ ]*)[├└]── (\w+) ", errors.__doc__ or "", re.MULTILINE):
        depth = len(lead) // 4
        shown[name] = above[depth]
        above[depth + 1] = name

    assert shown == kinds(errors.AgentError)


def kinds(of: type[errors.AgentError]) -> dict[str, str]:
    """Each kind of failure below one, and the kind that it is of."""
    found: dict[str, str] = {}
    for kind in of.__subclasses__():
        found |= {kind.__name__: of.__name__, **kinds(kind)}
    return found

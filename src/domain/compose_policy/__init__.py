"""What a bundle's Compose file may ask for: a table of what is allowed, and its judgement."""

from domain.compose_policy.judgement import judge, judge_network, judge_service, judge_volume
from domain.compose_policy.rules import (
    DEFAULT_CAPABILITIES,
    DEFAULT_DEVICES,
    PolicyProfile,
    PolicyRules,
    PortRange,
)

__all__ = [
    "DEFAULT_CAPABILITIES",
    "DEFAULT_DEVICES",
    "PolicyProfile",
    "PolicyRules",
    "PortRange",
    "judge",
    "judge_network",
    "judge_service",
    "judge_volume",
]

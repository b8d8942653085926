"""Keys signed with HS256, through PyJWT."""

import warnings
from datetime import UTC, datetime
from typing import Any

import jwt
from jwt.warnings import InsecureKeyLengthWarning

from domain.keys import Claims

MAX_KEY_LENGTH = 8192
"""A key beyond this is refused unread."""

_CLOCK_SKEW_SECONDS = 5


class PyjwtKeys:
    """Verifies keys against the platform's secret; without one, none is good."""

    def __init__(self, secret: str | None) -> None:
        self._secret = secret

    def verify(self, key: str) -> Claims | None:
        """The claims of ``key``; None for anything but a valid, unexpired HS256 signature."""
        if not self._secret or len(key) > MAX_KEY_LENGTH or not key.isascii():
            return None
        try:
            with warnings.catch_warnings():
                # The platform's secret is what it is; the operator is warned once, at start.
                warnings.simplefilter("ignore", InsecureKeyLengthWarning)
                if "crit" in jwt.get_unverified_header(key):
                    return None
                # iat is not looked at: the manager's clock may be ahead of this host's. Nor is
                # what only tells keys apart, or whom else they are for.
                claims = jwt.decode(
                    key,
                    self._secret,
                    algorithms=["HS256"],
                    leeway=_CLOCK_SKEW_SECONDS,
                    options={
                        "require": ["sub"],
                        "verify_iat": False,
                        "verify_aud": False,
                        "verify_jti": False,
                    },
                )
        except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError):
            return None
        subject, key_id = claims["sub"], claims.get("jti", "")
        if not isinstance(subject, str) or not subject:
            return None
        return Claims(
            subject=subject,
            key_id=key_id if isinstance(key_id, str) else "",
            expires_at=_expiry(claims.get("exp")),
        )


def _expiry(exp: Any) -> datetime | None:
    """When a key is refused for the first time, by a ``exp`` that the library took for a number."""
    if exp is None:
        return None
    try:
        return datetime.fromtimestamp(int(exp) + _CLOCK_SKEW_SECONDS, UTC)
    except (OverflowError, ValueError, OSError):
        # After the year 9999.
        return None

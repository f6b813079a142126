"""Who may look and who may steer: tokens that are made fresh and kept nowhere."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from zoneplate.acquisition.control.wishes import NAME_LENGTH, Role
from zoneplate.devices import ConfigurationError

TOKEN_BYTES = 24
"""192 bits: not to be guessed."""


@dataclass(frozen=True)
class Visitor:
    """Somebody with a token.

    Attributes
    ----------
    name
        As it goes into the log of what was asked for.
    role
        What is allowed.
    """

    name: str
    role: Role


class Access:
    """The tokens of one page. Only their digests are kept."""

    def __init__(self) -> None:
        self._visitors: dict[bytes, Visitor] = {}

    def admit(self, name: str, role: Role) -> str:
        """Return a fresh token for somebody.

        Raises
        ------
        ConfigurationError
            If the name is empty or too long.
        """
        if not name.strip() or len(name) > NAME_LENGTH or not name.isprintable():
            raise ConfigurationError(f"a user needs a printable name of 1 to {NAME_LENGTH} letters")
        token = secrets.token_urlsafe(TOKEN_BYTES)
        self._visitors[_digest(token)] = Visitor(name, role)
        return token

    def visitor(self, token: str) -> Visitor | None:
        """Return who a token belongs to; None if to nobody."""
        given = _digest(token)
        found = None
        for known, visitor in self._visitors.items():
            if hmac.compare_digest(known, given):
                found = visitor
        return found


def parse_user(text: str) -> tuple[str, Role]:
    """Return name and role of `anna:operator`.

    Raises
    ------
    ConfigurationError
        If it is not of that form.

    Examples
    --------
    >>> parse_user("anna:operator")
    ('anna', <Role.OPERATOR: 'operator'>)
    """
    name, _, role = text.rpartition(":")
    try:
        return name, Role(role)
    except ValueError:
        allowed = ", ".join(role.value for role in Role)
        raise ConfigurationError(
            f"user {text!r} is not NAME:ROLE with a role of {allowed}"
        ) from None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()

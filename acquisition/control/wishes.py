"""What may be asked of a running scan, and by whom."""

from __future__ import annotations

import getpass
from dataclasses import dataclass
from enum import StrEnum

NAME_LENGTH = 40
"""Letters of a user's name."""


class Role(StrEnum):
    """What somebody may do; each role may do what those before it may."""

    OBSERVER = "observer"
    OPERATOR = "operator"
    EXPERT = "expert"


class Action(StrEnum):
    """What can be asked for."""

    PAUSE = "pause"
    RESUME = "resume"
    SKIP_REGION = "skip region"
    STOP_AFTER_REGION = "stop after this region"
    ABORT = "abort"


LEAST_ROLE = {
    Action.PAUSE: Role.OPERATOR,
    Action.RESUME: Role.OPERATOR,
    Action.SKIP_REGION: Role.OPERATOR,
    Action.STOP_AFTER_REGION: Role.OPERATOR,
    Action.ABORT: Role.EXPERT,
}
"""The first role that may do it. What throws measurements away is for experts."""


class ControlRefused(RuntimeError):  # noqa: N818 - a refusal, as people say it
    """Something that was asked for cannot or may not be done; the message says why."""


@dataclass(frozen=True)
class Wish:
    """Something somebody asked for.

    Attributes
    ----------
    action
        What.
    who, role
        By whom.
    """

    action: Action
    who: str
    role: Role

    def __str__(self) -> str:
        return f"{self.action.value} on request of {self.who} ({self.role.value})"


def may(role: Role, action: Action) -> bool:
    """Whether a role may do something.

    Examples
    --------
    >>> may(Role.OPERATOR, Action.PAUSE), may(Role.OPERATOR, Action.ABORT)
    (True, False)
    """
    order = list(Role)
    return order.index(role) >= order.index(LEAST_ROLE[action])


def this_user() -> str:
    """Return the name of whoever runs this process."""
    try:
        return getpass.getuser()[:NAME_LENGTH]
    except (KeyError, OSError, ImportError):
        return "local"

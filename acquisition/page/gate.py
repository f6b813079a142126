"""Nobody passes without a token: a rule in front of everything the page serves.

The address with the token is used once: it is exchanged for a cookie, so that the token stays
neither in the address bar nor in the browser's history.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from tornado.httputil import HTTPServerRequest
from tornado.routing import Matcher, Rule
from tornado.web import RequestHandler

from .access import Access, Visitor

COOKIE = "zoneplate"
COOKIE_DAYS = 7
LONGEST_TOKEN = 200


def cookie_name(port: int) -> str:
    """Return the name of the cookie; browsers share cookies between the ports of a host."""
    return f"{COOKIE}-{port}"


class Outside(Matcher):
    """Matches every request that may not pass.

    Parameters
    ----------
    access
        Knows the tokens.
    port
        Of the server.
    """

    def __init__(self, access: Access, port: int) -> None:
        self._access, self._cookie = access, cookie_name(port)

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        """Return None for those who may pass."""
        if self.visitor(request) is not None and same_origin(request):
            return None
        return {}

    def visitor(self, request: HTTPServerRequest) -> Visitor | None:
        """Return whose cookie a request carries."""
        morsel = request.cookies.get(self._cookie)
        return self._access.visitor(morsel.value[:LONGEST_TOKEN]) if morsel is not None else None


def same_origin(request: HTTPServerRequest) -> bool:
    """Whether a request comes from the page itself: another site may not use its cookie."""
    origin = request.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("Host")


class Gate(RequestHandler):
    """Answers those who may not pass: the cookie for a good token, else 401 or 403."""

    def initialize(self, access: Access, port: int) -> None:
        """Take what the rule was made with."""
        self._access, self._cookie = access, cookie_name(port)

    def prepare(self) -> None:
        """Answer every method alike."""
        token = self.get_query_argument("token", "")[:LONGEST_TOKEN]
        good = self._access.visitor(token) is not None if token else False
        if good and self.request.method == "GET" and same_origin(self.request):
            # Strict: no other site can make a browser send it. Not `secure`: plain HTTP.
            self.set_cookie(
                self._cookie, token, httponly=True, samesite="Strict", expires_days=COOKIE_DAYS
            )
            self.redirect("/")
            return
        self.set_status(403 if token or self._cookie in self.request.cookies else 401)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish("A token is needed: open the address that `zoneplate live` printed.\n")


def gate_rule(access: Access, port: int) -> Rule:
    """Return the rule to put in front of all others."""
    return Rule(Outside(access, port), Gate, {"access": access, "port": port})

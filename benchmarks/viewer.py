"""A viewer of the live page without a browser: comes with its token, takes what is sent, goes."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
from dataclasses import dataclass, field

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

SESSION = re.compile(r'"token":"([^"]+)"')
"""Where the page that Bokeh serves says for which session its socket is."""


@dataclass
class Visits:
    """What viewers saw.

    Attributes
    ----------
    come
        How many came.
    messages
        Messages of the page that they took.
    failed
        Why one could not come, in words.
    """

    come: int = 0
    messages: int = 0
    failed: list[str] = field(default_factory=list[str])


async def visit(address: str, stay_s: float, visits: Visits) -> None:
    """Look at the page for a while.

    Parameters
    ----------
    address
        What `zoneplate live` printed, with the token.
    stay_s
        Wall time until the viewer goes.
    visits
        Where to note it.
    """
    client = AsyncHTTPClient()
    base = address.split("/?")[0]
    try:
        await client.fetch(address, follow_redirects=False)
    except HTTPClientError as error:
        if error.response is None or error.code != 302:
            raise
        cookie = error.response.headers["Set-Cookie"].split(";")[0]
    page = await client.fetch(base + "/", headers={"Cookie": cookie})
    found = SESSION.search(page.body.decode())
    if found is None:
        raise ValueError("the page has no session")
    request = HTTPRequest(base.replace("http", "ws", 1) + "/ws", headers={"Cookie": cookie})
    socket = await websocket_connect(request, subprotocols=["bokeh", found[1]])
    visits.come += 1
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(stay_s):
            while await socket.read_message() is not None:
                visits.messages += 1
    socket.close()


async def come_and_go(
    address: str, stop: asyncio.Event, visits: Visits, dice: random.Random
) -> None:
    """Visit again and again until told to stop."""
    while not stop.is_set():
        try:
            await visit(address, dice.uniform(0.5, 3.0), visits)
        except Exception as error:  # noqa: BLE001 - that is what is counted
            visits.failed.append(repr(error))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(dice.uniform(0.5, 4.0)):
                await stop.wait()

"""`zoneplate live` and `zoneplate control`: watch a scan, and steer it."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from .control.wishes import Action, ControlRefused, Role, this_user
from .data_directory import DataDirectory

NAMES = {action.value.split()[0]: action for action in Action}
"""Actions by one word: pause, resume, skip, stop, abort."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        epilog="Example: zoneplate live --data demo/data   (open the address that it prints)",
        context_settings={"ignore_unknown_options": True},
    )(live)
    app.command(epilog="Example: zoneplate follow --data /shared/microscope")(follow)
    app.command(epilog="Example: zoneplate control pause --data demo/data")(control)


def live(
    run: Annotated[
        str, typer.Argument(help="Uid of a run, or its beginning; the newest lot if not given")
    ] = "",
    data: Annotated[
        Path | None,
        typer.Option(help="Data directory; default $ZONEPLATE_DATA or ~/zoneplate-data"),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0 lets other machines in")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one")] = 0,
    user: Annotated[
        list[str] | None,
        typer.Option(help="NAME:ROLE (observer, operator, expert): a token of their own"),
    ] = None,
) -> None:
    """Show scans as they are taken, in a browser; ends with Ctrl-C."""
    from .page.process import require_panel
    from .runs import find_journal, read_run

    require_panel()
    directory = DataDirectory.choose(data)
    directory.create()
    lot = ""
    if run and run != "-1":
        record = read_run(find_journal(directory.journal, run))
        lot = str((record.start.get("screening") or {}).get("mosaic") or record.uid)
    from .page.server import main as serve

    options = ["--data", str(directory.root), "--host", host, "--port", str(port), "--lot", lot]
    for one in user or []:
        options += ["--user", one]
    serve(options, say=typer.echo)


def follow(
    data: Annotated[
        Path | None,
        typer.Option(help="Data directory; default $ZONEPLATE_DATA or ~/zoneplate-data"),
    ] = None,
) -> None:
    """Analyse tomograms as they are taken by somebody else; begins with what has no result yet."""
    from .live_worker import LiveWorker

    directory = DataDirectory.choose(data)
    directory.create()
    LiveWorker(directory, catch_up=True).run()


def control(
    action: Annotated[str, typer.Argument(help="pause, resume, skip, stop or abort")],
    data: Annotated[
        Path | None,
        typer.Option(help="Data directory; default $ZONEPLATE_DATA or ~/zoneplate-data"),
    ] = None,
) -> None:
    """Steer the scan that runs on this computer: what the buttons of the live page do."""
    from .control.channel import ask

    if action not in NAMES:
        raise ValueError(f"action {action!r} is unknown: use one of {', '.join(NAMES)}")
    root = DataDirectory.choose(data).root
    try:
        typer.echo(ask(root, NAMES[action], this_user(), Role.EXPERT, "command line"))
    except ControlRefused as refusal:
        raise ValueError(f"not done: {refusal}") from None


@contextmanager
def shown_live(directory: DataDirectory | None) -> Generator[None]:
    """Show what happens inside the block on a page; nothing without a data directory.

    At a terminal the page stays after a scan that ended well, until Enter is pressed.
    """
    if directory is None:
        yield
        return
    from .page.process import PageProcess

    with PageProcess(directory) as page:
        if not page.wait_ready():
            typer.echo("the live page does not start; the scan goes on without it", err=True)
        for line in page.addresses:
            typer.echo(line, err=True)
        yield
        if sys.stdin.isatty() and page.addresses:
            typer.echo("The page stays open; press Enter to end it.", err=True)
            sys.stdin.readline()

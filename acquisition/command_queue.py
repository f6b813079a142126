"""`zoneplate queue` and `zoneplate campaign`: unattended scans by the Bluesky queue server."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from zoneplate.devices import ConfigurationError

Data = Annotated[
    Path | None,
    typer.Option(help="Data directory; default $ZONEPLATE_DATA or ~/zoneplate-data"),
]
Redis = Annotated[str, typer.Option(help="HOST:PORT of Redis")]
Control = Annotated[str, typer.Option(help="0MQ address of the queue server")]

LOOPBACK_CONTROL = "tcp://127.0.0.1:60615"
LOOPBACK_INFO = "tcp://127.0.0.1:60625"
REDIS = "127.0.0.1:6379"

queue = typer.Typer(no_args_is_help=True, help="The Bluesky queue server with our plans.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(queue, name="queue")
    app.command(epilog="Example: zoneplate campaign lots.csv --wait")(campaign)


@queue.command(epilog="Example: zoneplate queue start --data /data/microscope")
def start(
    data: Data = None,
    redis: Redis = REDIS,
    control: Control = LOOPBACK_CONTROL,
    info: Annotated[str, typer.Option(help="0MQ address for its console")] = LOOPBACK_INFO,
    instrument: Annotated[str, typer.Option(help="Instrument that it opens")] = "simulated",
) -> None:
    """Run the queue server, open its environment, go on with what is queued; ends with Ctrl-C."""
    _require()
    from .data_directory import DataDirectory
    from .queue_server import run_manager

    directory = DataDirectory.choose(data)
    directory.create()
    raise typer.Exit(run_manager(directory, redis, control, info, instrument))


@queue.command(epilog="Example: zoneplate queue lists --out lists/")
def lists(out: Annotated[Path, typer.Option(help="Folder for the files")] = Path()) -> None:
    """Write the lists of plans and devices, and the permissions, that the queue server reads."""
    _require()
    from .queue_server import write_lists

    for path in write_lists(out):
        typer.echo(str(path))


@queue.command(epilog="Example: zoneplate queue redis")
def redis(port: Annotated[int, typer.Option(help="Port on the loopback interface")] = 6379) -> None:
    """Run a stand-in for Redis, for development: it forgets everything when it ends."""
    _require("fakeredis")
    from .queue_server import serve_stand_in

    typer.echo(f"redis stand-in at 127.0.0.1:{port}; end it with Ctrl-C")
    serve_stand_in(port)


def campaign(
    lots: Annotated[Path, typer.Argument(help="CSV file: lot, regions, projections, ...")],
    control: Control = LOOPBACK_CONTROL,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until all lots are done")] = False,
    group: Annotated[str, typer.Option(help="User group: operator or expert")] = "operator",
) -> None:
    """Queue the lots of a CSV file; the queue server screens one after the other."""
    from .campaign_lots import read_lots

    found = read_lots(lots)  # a bad file is refused before anything is loaded
    _require()
    from .queue_client import Campaign

    with Campaign(control, group) as submitted:
        submitted.submit(lots.stem, found)
        typer.echo(f"{len(found)} lots queued as campaign {lots.stem!r}")
        if wait:
            for lot, outcome in submitted.outcomes():
                typer.echo(f"  {lot}: {outcome}")


def _require(module: str = "bluesky_queueserver") -> None:
    if importlib.util.find_spec(module) is None:
        raise ConfigurationError(
            "the queue server is not installed: `pip install 'zoneplate[queue]'`"
        )

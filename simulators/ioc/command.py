"""The command line of the server."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from zoneplate.devices.configuration import InstrumentConfiguration
from zoneplate.devices.epics_environment import LOOPBACK
from zoneplate.devices.errors import ZoneplateError
from zoneplate.simulators.imperfections import Imperfections
from zoneplate.simulators.powders import SAMPLES
from zoneplate.simulators.specimen import Specimen

from .pacing import GRACE_S
from .server import MicroscopeServer, ServerOptions, run_until_told


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m zoneplate.simulators.ioc",
        description="Serve the simulated microscope over EPICS Channel Access. Prints one line of "
        "JSON when clients can connect; ends on SIGTERM, Ctrl-C or end of standard input.",
    )
    add = parser.add_argument
    add("--prefix", default="ZP:", help="begin of every PV name (default %(default)s)")
    add("--port", type=int, default=0, help="UDP and TCP port; a free one if 0 (default)")
    add("--interface", default=LOOPBACK, help="address to listen at (default %(default)s)")
    add("--beacon-port", type=int, default=0, help="port of the CA repeater; 0 for no beacons")
    add("--exposed", action="store_true", help="allow ports 5064, 5065 and other interfaces")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--specimen", type=Path, help="specimen file to put on the stage")
    what.add_argument("--sample", choices=sorted(SAMPLES), default="nmc622", help="or a powder")
    add("--seed", type=int, default=0, help="of everything random (default %(default)s)")
    add("--instrument", type=Path, help="instrument file (TOML); the one of zoneplate by default")
    add("--imperfections", type=json.loads, help="changes of imperfections, as a JSON object")
    add("--directory", type=Path, help="where frames are written; a folder that goes, by default")
    add("--speed", type=float, help="1 for real time; as fast as can be computed by default")
    add("--epoch", type=float, help="instrument time at the start, s since 1970; now by default")
    grace = "wall seconds without a client's write after which time passes (default %(default)s)"
    add("--grace", type=float, default=GRACE_S, help=grace)
    add("--keep-running", action="store_true", help="do not end with standard input")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server; return the exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    given = _parser().parse_args(arguments)
    try:
        if given.directory is not None:
            given.directory.mkdir(parents=True, exist_ok=True)
            _serve(given, given.directory)
        else:
            with tempfile.TemporaryDirectory(prefix="zoneplate-ioc-") as folder:
                _serve(given, Path(folder))
    except (ZoneplateError, OSError) as error:
        sys.stderr.write(f"zoneplate ioc: {error}\n")
        return 1
    return 0


def _serve(given: argparse.Namespace, directory: Path) -> None:
    specimen = (
        Specimen.load(given.specimen)
        if given.specimen is not None
        else SAMPLES[given.sample](given.seed)
    )
    server = MicroscopeServer(
        ServerOptions(
            prefix=given.prefix,
            port=given.port,
            interface=given.interface,
            beacon_port=given.beacon_port,
            directory=directory,
            exposed=given.exposed,
        ),
        InstrumentConfiguration.load(given.instrument),
        specimen,
        Imperfections(**{"seed": given.seed, **(given.imperfections or {})}),
        given.seed,
        speed=given.speed,
        epoch_s=given.epoch,
        grace_s=given.grace,
    )

    # Thousands of channels that never go: the collector need not look through them again and again.
    gc.freeze()

    def say_ready() -> None:
        line = {
            "port": server.port,
            "interface": given.interface,
            "prefix": given.prefix,
            "instance": server.instance_id,
            "directory": str(directory.resolve()),
            "pid": os.getpid(),
            "pvs": len(server.pv_names),
        }
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()

    asyncio.run(run_until_told(server, say_ready, watch_stdin=not given.keep_running))

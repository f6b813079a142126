"""Runs the Bluesky queue server with our startup module, bound to this computer."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from .data_directory import DataDirectory

logger = logging.getLogger(__name__)

STARTUP_MODULE = "zoneplate.acquisition.startup"
LISTS = "existing_plans_and_devices.yaml"
PERMISSIONS = "queue_permissions.yaml"
STOP_S = 20.0
POLL_S = 1.0
OPEN_TIMEOUT_S = 120.0


def manager_command(
    folder: Path, redis: str, control: str, info: str, *, update: str = "ENVIRONMENT_OPEN"
) -> list[str]:
    """Return the command line of the manager.

    Parameters
    ----------
    folder
        With the lists and the permissions.
    redis, control, info
        Addresses.
    update
        When the lists are made again.
    """
    return [
        *_module("bluesky_queueserver.manager.start_manager", "start_manager"),
        "--startup-module", STARTUP_MODULE,
        "--existing-plans-devices", str(folder / LISTS),
        "--update-existing-plans-devices", update,
        "--user-group-permissions", str(folder / PERMISSIONS),
        "--user-group-permissions-reload", "ON_STARTUP",
        "--redis-addr", redis,
        "--zmq-control-addr", control,
        "--zmq-info-addr", info,
        "--zmq-publish-console", "OFF",
    ]  # fmt: skip


def run_manager(data: DataDirectory, redis: str, control: str, info: str, instrument: str) -> int:
    """Run the manager until it is interrupted; open its environment when it is up."""
    folder = data.root / "queue"
    folder.mkdir(exist_ok=True)
    write_permissions(folder)
    if not (folder / LISTS).exists():
        (folder / LISTS).write_text(yaml.safe_dump({"existing_plans": {}, "existing_devices": {}}))
    environment = {
        **os.environ,
        "ZONEPLATE_DATA": str(data.root),
        "ZONEPLATE_INSTRUMENT": instrument,
    }
    process = subprocess.Popen(manager_command(folder, redis, control, info), env=environment)
    opener = threading.Thread(target=_open_environment, args=(control, process), daemon=True)
    opener.start()
    # Ctrl-C reaches the manager as well, which ends by itself.
    before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        return process.wait()
    except KeyboardInterrupt:
        try:
            return process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()
    finally:
        signal.signal(signal.SIGTERM, before)


def write_permissions(folder: Path) -> Path:
    """Write who may do what, unless there is such a file: a site's own is kept."""
    path = folder / PERMISSIONS
    if not path.exists():
        path.write_bytes((files("zoneplate.acquisition") / PERMISSIONS).read_bytes())
    return path


def write_lists(folder: Path) -> list[Path]:
    """Write the lists of plans and devices, and the permissions; return their paths.

    The startup module is loaded in a process of its own: it opens an instrument.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        *_module("bluesky_queueserver.manager.gen_lists", "gen_list_of_plans_and_devices_cli"),
        "--startup-module", STARTUP_MODULE, "--file-dir", str(folder), "--file-name", LISTS,
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return [folder / LISTS, write_permissions(folder)]


def serve_stand_in(port: int) -> None:
    """Serve a stand-in for Redis on the loopback interface until interrupted."""
    server = stand_in(port)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


def stand_in(port: int) -> Any:
    """Return a stand-in for Redis; port 0 takes a free one."""
    from fakeredis import TcpFakeServer

    server = TcpFakeServer(("127.0.0.1", port), server_type="redis")
    server.daemon_threads = True
    return server


def _open_environment(control: str, process: subprocess.Popen[bytes]) -> None:
    """Open the environment of a manager that has come up, so that a queue goes on by itself."""
    from .queue_client import Campaign

    deadline_s = time.monotonic() + OPEN_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline_s:
        try:
            with Campaign(control, "expert") as manager:
                manager.open_environment()
                again = manager.go_on()
            if again is not None:
                logger.warning(
                    "lot %s was broken off when the server died: it is taken again", again
                )
            return
        except (RuntimeError, TimeoutError):
            time.sleep(POLL_S)


def _module(module: str, function: str) -> list[str]:
    return [sys.executable, "-P", "-c", f"from {module} import {function} as f; f()"]

"""The queue server with our startup module; Redis is the stand-in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("bluesky_queueserver", reason="pip install 'zoneplate[queue]'")

from zoneplate.acquisition.campaign_lots import Lot
from zoneplate.acquisition.queue_server import (
    PERMISSIONS,
    manager_command,
    write_permissions,
)
from zoneplate.simulators import Particle, Specimen

NMC = "LiNi0.6Mn0.2Co0.2O2@4.77"
PARTICLES = tuple(
    Particle(f"p{x}", (12.0 * x, 0.0, 5.0), (5.0, 5.0, 4.5), material=NMC) for x in (-1, 0, 1)
)


def test_manager_is_told_to_listen_here_only(tmp_path):
    command = manager_command(tmp_path, "127.0.0.1:1", "tcp://127.0.0.1:2", "tcp://127.0.0.1:3")
    addresses = [part for part in command if part.startswith("tcp://")]
    assert addresses == ["tcp://127.0.0.1:2", "tcp://127.0.0.1:3"]
    assert command[command.index("--zmq-publish-console") + 1] == "OFF"


def test_permissions_are_kept_once_written(tmp_path):
    path = write_permissions(tmp_path)
    groups = yaml.safe_load(path.read_text())["user_groups"]
    assert set(groups) == {"root", "observer", "operator", "expert"}
    assert groups["observer"]["allowed_plans"] == []
    path.write_text("user_groups: {}\n")
    assert write_permissions(tmp_path).read_text() == "user_groups: {}\n"


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The startup module as the server sees it, in this process."""
    folder = tmp_path_factory.mktemp("startup")
    Specimen(particles=PARTICLES, name="three").save(folder / "specimen.h5")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZONEPLATE_DATA", str(folder / "data"))
        patch.setenv("ZONEPLATE_SPECIMEN", str(folder / "specimen.h5"))
        from zoneplate.acquisition import startup

        yield vars(startup)
        startup.session.close()


def test_plans_of_the_startup_module_are_understood_by_the_server(loaded):
    from bluesky_queueserver.manager.profile_ops import (
        existing_plans_and_devices_from_nspace,
        load_allowed_plans_and_devices,
        validate_plan,
    )

    plans, devices, *_ = existing_plans_and_devices_from_nspace(nspace=loaded)
    assert {"screen_lot", "mosaic", "tomography", "flats", "darks", "count"} <= set(plans)
    assert "microscope" in devices
    permissions = Path(loaded["__file__"]).with_name(PERMISSIONS)
    rules = yaml.safe_load(permissions.read_text())
    allowed, allowed_devices = load_allowed_plans_and_devices(
        existing_plans=plans, existing_devices=devices, user_group_permissions=rules
    )
    assert set(allowed["operator"]) == {"screen_lot", "mosaic", "tomography", "flats", "darks"}
    assert allowed["observer"] == {}

    def verdict(kwargs: dict[str, Any]) -> tuple[bool, str]:
        item = {"item_type": "plan", "name": "screen_lot", "kwargs": kwargs}
        return validate_plan(
            item,
            allowed_plans=allowed["operator"],
            allowed_devices=allowed_devices["operator"],
        )

    good = Lot(lot="A").model_dump()
    assert verdict({**good, "campaign": "c"}) == (True, "")
    assert not verdict({**good, "order": "backwards"})[0]
    assert not verdict({**good, "power": 1})[0]


@pytest.mark.long
def test_lot_leaves_its_report_and_bears_its_name(loaded):
    RE, data = loaded["RE"], loaded["session"].data
    RE(loaded["screen_lot"]("batch 7", rows=1, columns=1, projections=25, campaign="week 1"))
    assert (data.root / "reports" / "batch 7" / "report.html").stat().st_size > 0
    record = loaded["session"].run("-1")
    assert (record.start["sample"], record.start["campaign"]) == ("batch 7", "week 1")


def test_lot_with_a_bad_name_moves_nothing(loaded):
    before = len(list(loaded["session"].data.journal.iterdir()))
    with pytest.raises(ValueError, match="cannot be a name"):
        loaded["RE"](loaded["screen_lot"]("../../etc"))
    assert len(list(loaded["session"].data.journal.iterdir())) == before

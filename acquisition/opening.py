"""Opening an instrument: the simulated one, the same behind EPICS, or the one of a file."""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoneplate.devices import ConfigurationError, InstrumentConfiguration
from zoneplate.plans.grid import FIELD_STEP_UM
from zoneplate.simulators import SAMPLES, Specimen, simulated_microscope
from zoneplate.simulators.powders import LAYER_HEIGHT_UM, LAYER_WIDTH_UM

from .catalog_choice import open_catalog
from .data_directory import DataDirectory
from .journal import is_finished, journals, read_journal
from .session import Session

if TYPE_CHECKING:
    from zoneplate.simulators.imperfections import Imperfections

SIMULATED = "simulated"
EPICS_SIMULATED = "epics-simulated"
"""The same instrument behind Channel Access, its server started for the session."""

SAMPLE = "nmc622"
"""What is on the simulated stage when nothing else is asked for."""

AROUND_MAP_UM = FIELD_STEP_UM / 2
"""How much larger than the map a simulated powder is, both sides together."""

FILE_ENDING = ".toml"


def open_session(
    instrument: str | Path = SIMULATED,
    *,
    sample: str | None = None,
    seed: int = 0,
    specimen: Specimen | str | Path | None = None,
    data_dir: str | Path | None = None,
    imperfections: Imperfections | None = None,
    speed: float | None = None,
    live: bool = True,
    md: dict[str, Any] | None = None,
    map_um: tuple[float, float] | None = None,
) -> Session:
    """Open an instrument.

    Parameters
    ----------
    instrument
        `"simulated"`; `"epics-simulated"`: the same behind an EPICS server; or an instrument file.
        One with a section `[epics]` opens the real instrument that is found there, one without
        simulates an instrument with the constants of the file.
    sample
        Name of the sample; for a simulated instrument a name in
        `zoneplate.simulators.SAMPLES` (`"nmc622"`, the default, `"nmc811"`, `"nmc622-bad"`) unless
        a specimen is given. A real instrument needs a name.
    seed
        Seed of the simulated specimen and of everything random in the simulated instrument.
    specimen
        What is on the simulated stage: a `Specimen` or the file of one.
    data_dir
        Where to keep data: `$ZONEPLATE_DATA`, or `~/zoneplate-data`, if None. With a real
        instrument, the machine that writes frames must see it under the same name.
    imperfections
        What is not ideal about the simulated instrument; the documented defaults if None.
    speed
        None lets the simulated instrument run as fast as it can be computed, 1 in real time.
    live
        Whether to analyse tomograms while they are taken.
    md
        More metadata for every run, such as `{"material": "LiNi0.6Mn0.2Co0.2O2@4.77"}`, from
        which volumes on the map of a real sample follow.
    map_um
        Width and height of the map that will be taken: a simulated powder that has a name lies at
        least a quarter of a field further. It always covers the 8 x 5 fields of the study.

    Returns
    -------
    Session

    Raises
    ------
    ConfigurationError
        If something is not possible.
    AcquisitionError
        If the instrument does not answer.

    Examples
    --------
    ::

        with open_session("simulated", sample="nmc622", seed=1) as session:
            session.RE(tomography(session.microscope))
            session.catalog[-1].table()
    """
    configuration = _configuration(instrument)
    real = configuration if configuration is not None and configuration.epics else None
    if real is not None:
        _check_real(sample, specimen=specimen, imperfections=imperfections, speed=speed)
    data = DataDirectory.choose(data_dir)
    data.create()
    open_catalog(data.root)  # a bad address is refused before anything is started
    if real is not None:
        return _real_session(data, real, {"sample": sample, **(md or {})}, live=live)
    on_stage = _specimen(sample or SAMPLE, seed, specimen, map_um)
    file = _keep_specimen(data, on_stage)
    metadata: dict[str, Any] = {"sample": on_stage.name, "seed": seed, "specimen_file": str(file)}
    material = next((particle.material for particle in on_stage.particles), None)
    if material is not None:
        metadata["material"] = material
    metadata.update(md or {})
    epoch_s = _epoch_s(data)
    if str(instrument) == EPICS_SIMULATED:
        return _epics_session(
            data, file, metadata, imperfections, live=live, seed=seed, speed=speed, epoch_s=epoch_s
        )
    microscope = simulated_microscope(
        on_stage,
        seed=seed,
        configuration=configuration,
        imperfections=imperfections,
        directory=data.frames,
        speed=speed,
        epoch_s=epoch_s,
    )
    return Session(microscope, data, md=metadata, live=live, clock=microscope.clock)


def _configuration(instrument: str | Path) -> InstrumentConfiguration | None:
    """Read the instrument file, if it is one."""
    if str(instrument) in (SIMULATED, EPICS_SIMULATED):
        return None
    if Path(instrument).suffix != FILE_ENDING:
        raise ConfigurationError(
            f"there is no instrument {str(instrument)!r}: use {SIMULATED!r}, {EPICS_SIMULATED!r}, "
            f"or an instrument file, whose name ends in {FILE_ENDING}"
        )
    return InstrumentConfiguration.load(instrument)


def _check_real(sample: str | None, **simulated: Any) -> None:
    """Refuse what a real instrument cannot have, and ask for what it must.

    Raises
    ------
    ConfigurationError
        See above.
    """
    for name, value in simulated.items():
        if value is not None:
            raise ConfigurationError(
                f"{name} = {value!s} is for simulated instruments, and this one is real: leave it "
                "out, or take the section [epics] out of the instrument file to simulate it"
            )
    if not sample:
        raise ConfigurationError("name the sample on the stage: it stands in every run and report")


def _real_session(
    data: DataDirectory, configuration: InstrumentConfiguration, md: dict[str, Any], *, live: bool
) -> Session:
    """Connect to the instrument that a file describes."""
    from zoneplate.devices.epics import epics_microscope

    assert configuration.epics is not None
    microscope = epics_microscope(
        configuration.epics.prefix, directory=data.frames, configuration=configuration
    )
    return Session(microscope, data, md=md, live=live, when_closed=microscope.destroy)


def _epics_session(
    data: DataDirectory,
    specimen_file: Path,
    md: dict[str, Any],
    imperfections: Imperfections | None,
    *,
    live: bool,
    seed: int,
    speed: float | None,
    epoch_s: float,
) -> Session:
    """Start a server of the simulated microscope and connect to it."""
    # libca reads its environment when it is first used: nobody who needs no EPICS loads it.
    from zoneplate.devices.epics import epics_microscope
    from zoneplate.devices.epics_environment import use_simulated_servers
    from zoneplate.simulators.ioc import ServerProcess

    port, beacon_port = use_simulated_servers()
    server = ServerProcess(
        directory=data.frames,
        port=port,
        beacon_port=beacon_port,
        specimen=specimen_file,
        seed=seed,
        imperfections=dataclasses.asdict(imperfections) if imperfections is not None else None,
        speed=speed,
        epoch_s=epoch_s,
    )
    try:
        microscope = epics_microscope(server.prefix, directory=data.frames, simulated=True)
    except BaseException:
        server.stop()
        raise

    def let_go() -> None:
        microscope.destroy()
        server.stop()

    return Session(microscope, data, md=md, live=live, clock=microscope.clock, when_closed=let_go)


def _specimen(
    sample: str,
    seed: int,
    specimen: Specimen | str | Path | None,
    map_um: tuple[float, float] | None,
) -> Specimen:
    if isinstance(specimen, Specimen):
        return specimen
    if specimen is not None:
        return Specimen.load(specimen)
    try:
        make = SAMPLES[sample]
    except KeyError:
        raise ConfigurationError(
            f"sample {sample!r} cannot be simulated: choose {', '.join(SAMPLES)}, or give a "
            "specimen file"
        ) from None
    width_um, height_um = (length_um + AROUND_MAP_UM for length_um in map_um or (0.0, 0.0))
    return make(
        seed,
        width_um=max(LAYER_WIDTH_UM, width_um),
        height_um=max(LAYER_HEIGHT_UM, height_um),
    )


def _keep_specimen(data: DataDirectory, specimen: Specimen) -> Path:
    """Keep what is on the simulated stage under a name made from its content."""
    with tempfile.NamedTemporaryFile(dir=data.specimens, suffix=".h5", delete=False) as file:
        temporary = Path(file.name)
    specimen.save(temporary)
    digest = hashlib.sha256(temporary.read_bytes()).hexdigest()[:16]
    return temporary.replace(data.specimens / f"{digest}.h5")


def _epoch_s(data: DataDirectory) -> float:
    """Return an instrument time to start at: now, but after everything already recorded.

    Virtual time runs ahead of the wall clock, and runs are sorted by their time.
    """
    newest = [path for path in journals(data.journal) if is_finished(path)][-1:]
    times = [
        float(doc["time"]) for path in newest for name, doc in read_journal(path) if name == "stop"
    ]
    return max([time.time(), *(last + 1.0 for last in times)])

"""Where a session keeps what: one folder with frames, journal, catalog and results."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from zoneplate.devices import ConfigurationError

ENVIRONMENT_VARIABLE = "ZONEPLATE_DATA"
DEFAULT = Path("~/zoneplate-data")


@dataclass(frozen=True)
class DataDirectory:
    """The folders of a data directory.

    Attributes
    ----------
    root
        The folder itself.
    """

    root: Path

    @classmethod
    def choose(cls, path: str | Path | None = None) -> DataDirectory:
        """Return the directory asked for, else `$ZONEPLATE_DATA`, else the default."""
        chosen = path or os.environ.get(ENVIRONMENT_VARIABLE) or DEFAULT
        return cls(Path(chosen).expanduser().resolve())

    def create(self) -> None:
        """Make the folders.

        Raises
        ------
        ConfigurationError
            If the place cannot be written.
        """
        for folder in (self.frames, self.journal, self.results, self.specimens):
            check_writable(folder)

    @property
    def frames(self) -> Path:
        """NXtomo files, one per run."""
        return self.root / "frames"

    @property
    def journal(self) -> Path:
        """Documents, one file per run."""
        return self.root / "journal"

    @property
    def results(self) -> Path:
        """Volumes and tables, one folder per analysed run."""
        return self.root / "results"

    @property
    def twins(self) -> Path:
        """What simulated twins of scans show, one file per settings."""
        return self.root / "twins"

    @property
    def specimens(self) -> Path:
        """Simulated specimens, so that later analyses can be compared with the truth."""
        return self.root / "specimens"

    def result_of(self, uid: str) -> Path:
        """Return the folder for the results of a run."""
        return self.results / uid

    def live_of(self, uid: str) -> Path:
        """Return the folder for what the live analysis shows of a run while it goes on."""
        return self.result_of(uid) / "live"


def check_writable(folder: Path) -> None:
    """Make a folder, and make sure that files can be written in it.

    Raises
    ------
    ConfigurationError
        If not.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".zoneplate-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigurationError(
            f"{folder} cannot be written: {error.strerror or error}; choose another folder"
        ) from error

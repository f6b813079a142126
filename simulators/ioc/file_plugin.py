"""The HDF5 plugin: names the file of the frames, and says what became of each.

The file itself is the NXtomo file of the camera model (`zoneplate.simulators.frame_file`),
which also has the frames where areaDetector's own files have them (`/entry/data/data`).
"""

from __future__ import annotations

from pathlib import Path

from ophyd.areadetector.plugins import HDF5Plugin_V34

from zoneplate.devices.errors import ConfigurationError
from zoneplate.devices.states import ImageKey
from zoneplate.simulators.camera_model import CameraModel

from .channels import Database
from .ophyd_pvs import declared_pvs
from .plugin_pvs import YES_NO, PluginPVs

DEFAULT_TEMPLATE = "%s%s_%6.6d.nxs"
WRITE_OK, WRITE_ERROR = range(2)
STREAM = 2
"""File write mode in which a file takes any number of frames."""

NONE_TO_MARK = -1


class FilePlugin:
    """The PVs of `HDF1:`.

    Parameters
    ----------
    database
        Where they go.
    camera
        The camera whose frames are written.
    directory
        Files are written below this folder, and nowhere else: Channel Access knows no users.
    source_port
        Name of the driver that frames come from.
    """

    def __init__(
        self, database: Database, camera: CameraModel, directory: Path, source_port: str
    ) -> None:
        self._camera = camera
        self._clock = database.clock
        self._directory = directory.resolve()
        pvs = self.pvs = PluginPVs(database, "HDF1:")
        pvs.plugin("NDFileHDF5", source_port)
        pvs.text("FilePath", f"{self._directory}/", on_put=self._put_path, starts=True)
        pvs.text("FileName", "frames")
        pvs.text("FileTemplate", DEFAULT_TEMPLATE)
        pvs.text("FullFileName_RBV", "", read_only=True)
        pvs.text("WriteMessage", "")
        pvs.enum("WriteStatus", ("Write OK", "Write error"), read_only=True)
        pvs.integer("FilePathExists_RBV", 1, read_only=True)
        pvs.integer("FileNumber", 0)
        pvs.enum("AutoIncrement", YES_NO, 1)
        pvs.enum("FileWriteMode", ("Single", "Capture", "Stream"), STREAM)
        pvs.enum("Capture", ("Done", "Capture"), on_put=self._put_capture, starts=True)
        pvs.integer("NumCapture", 0)
        pvs.integer("NumCaptured_RBV", 0, read_only=True)
        pvs.integer("CreateDirectory", 0, on_put=self._put_create)
        for name, value in (("LazyOpen", 1), ("SWMRMode", 1)):
            pvs.enum(name, ("Off", "On") if name == "SWMRMode" else YES_NO, value)
        pvs.enum("SWMRActive_RBV", ("Off", "Active"), 0, read_only=True)
        pvs.enum("SWMRSupported_RBV", ("Not Supported", "Supported"), 1, read_only=True)
        pvs.integer("InvalidFrame", NONE_TO_MARK, on_put=self._put_invalid)
        pvs.complete(declared_pvs(HDF5Plugin_V34))

    async def _put_path(self, value: str) -> None:
        await self.pvs.post({"FilePath_RBV": value if value.endswith("/") else f"{value}/"})
        await self._show_path()

    async def _put_create(self, _: int) -> None:
        await self._show_path()

    async def _show_path(self) -> None:
        """Say whether the folder exists, or will when it is needed."""
        path = self._checked(Path(self.pvs["FilePath_RBV"].value))
        exists = path is not None and (path.is_dir() or self._may_create(path))
        await self.pvs.post({"FilePathExists_RBV": int(exists)})

    def _checked(self, path: Path) -> Path | None:
        """Return the path if it is below the folder of the server."""
        resolved = path.resolve()
        return resolved if resolved.is_relative_to(self._directory) else None

    def _may_create(self, path: Path) -> bool:
        """Whether `CreateDirectory` allows as many new levels as `path` needs."""
        missing = sum(1 for parent in (path, *path.parents) if not parent.exists())
        return missing <= abs(int(self.pvs["CreateDirectory"].value))

    async def _put_capture(self, value: str) -> None:
        if value == "Done":
            await self._close()
            return
        try:
            path = self._checked(self._full_name())
            if path is None:
                raise ConfigurationError(
                    f"files are written below {self._directory} only: choose FilePath there, or "
                    "start the server with another --directory"
                )
            if path.exists():
                raise ConfigurationError(f"{path} exists: choose another FileName or FileNumber")
            with self._clock.lock:
                self._camera.arm(path)
        except ConfigurationError as error:
            await self._show_error(str(error), self._clock.now())
            await self.pvs.post({"Capture": 0, "Capture_RBV": 0})
            return
        number = self.pvs["FileNumber"].value + int(self.pvs["AutoIncrement"].value == "Yes")
        await self.pvs.post(
            {
                "FullFileName_RBV": str(path),
                "FileNumber": number,
                "FileNumber_RBV": number,
                "NumCaptured_RBV": 0,
                "WriteStatus": WRITE_OK,
                "WriteMessage": "",
                "SWMRActive_RBV": 1,
            }
        )

    def _full_name(self) -> Path:
        """Return the file that path, name, number and template make, as C's sprintf would."""
        pvs = self.pvs
        template, folder = pvs["FileTemplate"].value, pvs["FilePath_RBV"].value
        name, number = pvs["FileName"].value, pvs["FileNumber"].value
        for arguments in ((folder, name, number), (folder, name)):
            try:
                return Path(template % arguments)
            except (TypeError, ValueError):
                continue
        raise ConfigurationError(f"FileTemplate {template!r} does not take a path and a name")

    async def _close(self) -> None:
        with self._clock.lock:
            self._camera.disarm()
        await self.pvs.post({"SWMRActive_RBV": 0, "Capture_RBV": 0})

    async def _put_invalid(self, index: int) -> None:
        """Mark a frame of the open file that must not be used."""
        with self._clock.lock:
            file = self._camera.file
            if file is None or not 0 <= index < len(file):
                raise ConfigurationError(f"there is no frame {index} in the open file to mark")
            file.mark_invalid(index, ImageKey.INVALID)

    async def show_result(self, error: Exception | None, stored: int, time_s: float) -> None:
        """Post what became of a frame, and close a file that has all it was to have."""
        if error is not None:
            await self._show_error(str(error), time_s)
            return
        await self.pvs.post({"NumCaptured_RBV": stored}, time_s)
        wanted = self.pvs["NumCapture"].value
        if self.pvs["Capture"].value == "Capture" and 0 < wanted <= stored:
            await self._close()
            await self.pvs.post({"Capture": 0}, time_s)

    async def _show_error(self, message: str, time_s: float) -> None:
        await self.pvs.post({"WriteMessage": message, "WriteStatus": WRITE_ERROR}, time_s)

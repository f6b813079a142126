"""The simulated camera as an areaDetector: driver, image, statistics and HDF5 plugin.

Names and meanings after areaDetector (https://areadetector.github.io). `cam1:` drives the
camera of the instrument model, the plugins show the frame it read out last, `HDF1:` lets it
write its frames to the NXtomo file that the plugin names. What we do not simulate is there all
the same, keeps what is put, and does nothing.
"""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ophyd.areadetector.cam import SimDetectorCam
from ophyd.areadetector.plugins import ImagePlugin_V34, StatsPlugin_V34

from zoneplate.devices.errors import ConfigurationError
from zoneplate.devices.states import ImageKey
from zoneplate.simulators.instrument import SimulatedInstrument

from .channels import Database
from .file_plugin import FilePlugin
from .ophyd_pvs import READBACK, declared_pvs
from .plugin_pvs import ON_OFF, YES_NO, PluginPVs

IDLE, ACQUIRE, READOUT, ABORTED = 0, 1, 2, 10
DETECTOR_STATES = (
    "Idle",
    "Acquire",
    "Readout",
    "Correct",
    "Saving",
    "Aborting",
    "Error",
    "Waiting",
    "Initializing",
    "Disconnected",
    "Aborted",
)

SINGLE, MULTIPLE, CONTINUOUS = range(3)

FRAME_TYPES = ("Normal", "Background", "FlatField", "DblCorrelation")
IMAGE_KEYS = (ImageKey.PROJECTION, ImageKey.DARK, ImageKey.FLAT, ImageKey.INVALID)
"""What each frame type of areaDetector is in NXtomo."""

EPICS_EPOCH_S = 631152000
"""1990-01-01 in seconds since 1970: where areaDetector's time stamps begin."""

DATA_TYPES = ("Int8", "UInt8", "Int16", "UInt16", "Int32", "UInt32", "Float32", "Float64")
UINT16 = DATA_TYPES.index("UInt16")

DRIVER_PORT = "CAM"


class AreaDetector:
    """The camera's PVs and what they do.

    Parameters
    ----------
    database
        Where they go.
    instrument
        The instrument whose camera this is.
    file_plugin
        The plugin that names the file of the frames.
    """

    def __init__(
        self, database: Database, instrument: SimulatedInstrument, file_plugin: FilePlugin
    ) -> None:
        self._database = database
        self._instrument = instrument
        self._camera = instrument.camera
        self._clock = instrument.clock
        self._file = file_plugin
        self._finished: asyncio.Future[None] | None = None
        self._remaining = 0.0
        self._frames = 0
        self._cam = self._make_cam()
        self._image = self._make_image()
        self._stats = self._make_stats()
        self._pixels: Any = self._image["ArrayData"]

    def _make_cam(self) -> PluginPVs:
        camera, configuration = self._camera, self._camera.configuration
        pvs = PluginPVs(self._database, "cam1:")
        pvs.enum("Acquire", ("Done", "Acquire"), on_put=self._put_acquire, starts=True)
        exposures = (configuration.exposure_min_s, configuration.exposure_max_s)
        pvs.number(
            "AcquireTime", camera.exposure_s, units="s", limits=exposures, on_put=self._put_exposure
        )
        pvs.number("AcquirePeriod", 0.0, units="s")
        for name in ("BinX", "BinY"):
            pvs.integer(name, camera.binning, on_put=self._put_binning)
        pvs.enum("FrameType", FRAME_TYPES, on_put=self._put_frame_type)
        pvs.enum("ImageMode", ("Single", "Multiple", "Continuous"))
        pvs.integer("NumImages", 1)
        pvs.enum("TriggerMode", ("Internal", "External"), on_put=self._put_trigger_mode)
        pvs.enum("DataType", DATA_TYPES, UINT16, on_put=self._put_data_type)
        pvs.enum("DetectorState_RBV", DETECTOR_STATES, read_only=True)
        pvs.integer("ArrayCounter", 0, on_put=self._put_counter)
        pvs.enum("ArrayCallbacks", ON_OFF, 1)
        pvs.enum("ColorMode", ("Mono", "Bayer", "RGB1"))
        for axis, size in (("X", configuration.columns), ("Y", configuration.rows)):
            pvs.integer(f"MaxSize{axis}_RBV", size, read_only=True)
            for name, value in ((f"Size{axis}", size), (f"Min{axis}", 0)):
                pvs.integer(name, value, read_only=True)
        for name in ("ArraySizeX", "ArraySizeY", "ArraySizeZ", "ArraySize"):
            pvs.integer(name + READBACK, 0, read_only=True)
        pvs.integer("NumImagesCounter_RBV", 0, read_only=True)
        pvs.number("SaturatedFraction_RBV", 0.0, read_only=True)
        pvs.text("DeadRows_RBV", "", read_only=True)
        pvs.number("Angle_RBV", 0.0, units="deg", read_only=True)
        pvs.string("PortName_RBV", DRIVER_PORT, read_only=True)
        pvs.text("Manufacturer_RBV", "zoneplate", read_only=True)
        pvs.text("Model_RBV", self._instrument.configuration.name, read_only=True)
        pvs.complete(declared_pvs(SimDetectorCam))
        return pvs

    def _make_plugin(self, prefix: str, plugin_type: str) -> PluginPVs:
        pvs = PluginPVs(self._database, prefix)
        pvs.plugin(plugin_type, DRIVER_PORT)
        return pvs

    def _make_image(self) -> PluginPVs:
        configuration = self._camera.configuration
        pvs = self._make_plugin("image1:", "NDPluginStdArrays")
        pvs.array("ArrayData", configuration.rows * configuration.columns)
        pvs.complete(declared_pvs(ImagePlugin_V34))
        return pvs

    def _make_stats(self) -> PluginPVs:
        pvs = self._make_plugin("Stats1:", "NDPluginStats")
        for name in ("MeanValue", "MaxValue", "MinValue", "Total", "SigmaValue"):
            pvs.number(name + READBACK, 0.0, units="counts", read_only=True)
        for name in ("ComputeStatistics", "ComputeCentroid", "ComputeHistogram", "ComputeProfiles"):
            pvs.enum(name, YES_NO, int(name == "ComputeStatistics"))
        pvs.complete(declared_pvs(StatsPlugin_V34))
        return pvs

    async def start(self) -> None:
        """Show the format of the frames to come: plugins that saw a frame are called primed."""
        await self._show_format()

    # Settings

    async def _put_exposure(self, value: float) -> None:
        with self._clock.lock:
            self._camera.set_exposure_s(value)

    async def _put_binning(self, value: int) -> None:
        if self._finished is not None:
            raise ConfigurationError("binning cannot change during an acquisition: stop it first")
        with self._clock.lock:
            self._camera.set_binning(value)
        names = ("BinX", "BinY", "BinX_RBV", "BinY_RBV")  # the chip bins both ways alike
        await self._cam.post(dict.fromkeys(names, value))
        await self._show_format()

    async def _put_frame_type(self, value: str) -> None:
        with self._clock.lock:
            self._camera.set_image_key(IMAGE_KEYS[FRAME_TYPES.index(value)])

    async def _put_trigger_mode(self, value: str) -> None:
        if value != "Internal":
            raise ConfigurationError("the simulated camera has no trigger input: use Internal")

    async def _put_data_type(self, value: str) -> None:
        if value != DATA_TYPES[UINT16]:
            raise ConfigurationError(f"the camera counts in {DATA_TYPES[UINT16]}, not in {value}")

    async def _put_counter(self, value: int) -> None:
        self._frames = value

    async def _show_format(self) -> None:
        binning = self._camera.binning
        rows, columns = self._camera.configuration.detector.shape(binning)
        size = rows * columns * np.dtype(np.uint16).itemsize
        sizes = {"ArraySizeX_RBV": columns, "ArraySizeY_RBV": rows, "ArraySize_RBV": size}
        await self._cam.post(sizes)
        for plugin in (self._image, self._stats, self._file.pvs):
            await plugin.post(
                sizes | {"ArraySize0_RBV": columns, "ArraySize1_RBV": rows, "ArraySize2_RBV": 0}
            )

    # Acquiring

    async def _put_acquire(self, value: str) -> None:
        """Start or stop; a put is complete when the last frame is read out.

        Starting while an acquisition runs does nothing, as in areaDetector.
        """
        if value == "Done":
            await self._abort()
            return
        if self._finished is None:
            self._finished = asyncio.get_running_loop().create_future()
            mode = self._cam["ImageMode"].raw_value
            images = {SINGLE: 1, MULTIPLE: self._cam["NumImages"].value, CONTINUOUS: np.inf}
            with self._clock.lock:
                self._remaining = images[mode]
                self._expose()
            await self._cam.post({"DetectorState_RBV": ACQUIRE, "NumImagesCounter_RBV": 0})
        # A later stop must not cancel what others wait for.
        await asyncio.shield(self._finished)

    def _expose(self) -> None:
        """Start the next frame; on the instrument's time, so that frames follow without a gap."""
        self._camera.acquire(self._exposed, self._read_out)

    def _exposed(self) -> None:
        async def news(time_s: float) -> None:
            await self._cam.post({"DetectorState_RBV": READOUT}, time_s)

        self._database.tell(news, halfway=True)

    def _read_out(self, error: Exception | None) -> None:
        """Take note of a frame, start the next if there is one, and tell the clients."""
        camera, frame = self._camera, self._camera.last_frame
        assert frame is not None
        self._frames += 1
        self._remaining -= 1
        more = self._remaining > 0
        started_s = camera.exposure_start_s
        stored = len(camera.file) if camera.file is not None else 0
        facts = {
            "number": camera.frame_number,
            "frames": self._frames,
            "stamp_s": started_s - EPICS_EPOCH_S,
            "saturated": camera.saturated_fraction,
            "dead_rows": " ".join(str(row) for row in camera.dead_rows),
            "angle_deg": camera.angle_deg,
        }
        if more:
            period_s = self._cam["AcquirePeriod"].value
            gap_s = max(0.0, started_s + period_s - self._clock.now())
            self._clock.call_later(gap_s, self._expose_next)

        async def news(time_s: float) -> None:
            await self._show_frame(frame, facts, time_s)
            await self._file.show_result(error, stored, time_s)
            if more:
                await self._cam.post({"DetectorState_RBV": ACQUIRE}, time_s)
            else:
                await self._end(IDLE, time_s)

        self._database.tell(news)

    def _expose_next(self) -> None:
        if self._remaining > 0 and not self._camera.busy:
            self._expose()

    async def _show_frame(
        self, frame: NDArray[np.uint16], facts: dict[str, Any], time_s: float
    ) -> None:
        cam = self._cam
        for plugin in (self._image, self._stats, self._file.pvs):
            await plugin.post(
                {
                    "UniqueId_RBV": facts["number"],
                    "TimeStamp_RBV": facts["stamp_s"],
                    "ArrayCounter": facts["frames"],
                    "ArrayCounter_RBV": facts["frames"],
                },
                time_s,
            )
        await self._pixels.write(
            frame.ravel().astype(np.int32), verify_value=False, timestamp=time_s
        )
        await self._stats.post(
            {
                "MeanValue_RBV": self._camera.mean_counts,
                "MaxValue_RBV": float(self._camera.maximum_counts),
                "MinValue_RBV": float(frame.min()),
                "Total_RBV": float(frame.sum(dtype=np.float64)),
                "SigmaValue_RBV": float(frame.std()),
            },
            time_s,
        )
        await cam.post(
            {
                "NumImagesCounter_RBV": cam["NumImagesCounter_RBV"].value + 1,
                "SaturatedFraction_RBV": facts["saturated"],
                "DeadRows_RBV": facts["dead_rows"],
                "Angle_RBV": facts["angle_deg"],
                "ArrayCounter": facts["frames"],
                "ArrayCounter_RBV": facts["frames"],
            },
            time_s,
        )

    async def _abort(self) -> None:
        with self._clock.lock:
            self._remaining = 0
            self._camera.abort()
        if self._finished is not None:
            await self._end(ABORTED, self._clock.now())

    async def _end(self, state: int, time_s: float) -> None:
        """Post the end of an acquisition; `Acquire_RBV` last: who sees it has seen the rest."""
        finished, self._finished = self._finished, None
        await self._cam.post({"DetectorState_RBV": state, "Acquire": 0, "Acquire_RBV": 0}, time_s)
        if finished is not None and not finished.done():
            finished.set_result(None)

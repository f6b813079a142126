"""Results are runs as well: a derived run per analysis, in the same journal and catalog.

Its start document names the run it is about (`analysis_of`); stream `progress` holds the live
curve, `particles` and `voids` a row per object, the stop document how it ended. Analysing again
adds another run.
"""

from __future__ import annotations

import math
from typing import Any

import event_model
import numpy as np

from zoneplate.analysis.tomogram import Preview, Tomogram

from .journal import DocumentJournal
from .versions import software_versions

PROGRESS_UNITS = {
    "projections": "",
    "particles": "",
    "with_voids": "",
    "void_frequency": "",
    "void_frequency_low": "",
    "void_frequency_high": "",
    "dead_volume_fraction": "",
    "mean_diameter_um": "um",
}


def progress_row(preview: Preview) -> dict[str, float]:
    """Return what the live curve records of a preview; unknown values are NaN."""
    summary = preview.summary
    frequency = summary["void_frequency"]
    values = {
        "projections": preview.projections,
        "particles": summary["particles"]["count"],
        "with_voids": frequency["k"],
        "void_frequency": frequency["value"],
        "void_frequency_low": frequency["low"],
        "void_frequency_high": frequency["high"],
        "dead_volume_fraction": summary["dead_volume_fraction"]["value"],
        "mean_diameter_um": summary["particles"]["equivalent_diameter_um"]["mean"],
    }
    return {name: math.nan if value is None else float(value) for name, value in values.items()}


class DerivedRun:
    """Writes one analysis as a run.

    Parameters
    ----------
    journal
        Where its documents go.
    analysis_of
        Uid of the run that is analysed.
    sample
        Name of the sample.
    parameters
        What the analysis was told.
    time_s
        Instrument time to stamp the documents with.
    """

    def __init__(
        self,
        journal: DocumentJournal,
        analysis_of: str,
        sample: str,
        parameters: dict[str, Any],
        time_s: float,
    ) -> None:
        self._journal = journal
        self.time_s = time_s
        metadata = {
            "plan_name": "analysis",
            "analysis_of": analysis_of,
            "sample": sample,
            "parameters": parameters,
            "versions": software_versions(),
        }
        self._run = event_model.compose_run(time=time_s, metadata=metadata)
        self._streams: dict[str, Any] = {}
        self._emit("start", self._run.start_doc)

    @property
    def uid(self) -> str:
        """Uid of the derived run."""
        return str(self._run.start_doc["uid"])

    def progress(self, preview: Preview) -> None:
        """Record a point of the live curve."""
        self.row("progress", progress_row(preview), PROGRESS_UNITS)

    def tables(self, tomogram: Tomogram) -> None:
        """Record the particles and the voids."""
        for stream, table in (("particles", tomogram.particles), ("voids", tomogram.voids)):
            for row in table.to_dict("records"):
                self.row(stream, {str(name): value for name, value in row.items()}, {})

    def close(self, exit_status: str = "success", reason: str = "") -> None:
        """End the run."""
        stop = self._run.compose_stop(
            exit_status=exit_status,  # pyright: ignore[reportArgumentType]
            reason=reason,
            time=self.time_s,
        )
        self._emit("stop", stop)

    def row(self, stream: str, row: dict[str, Any], units: dict[str, str]) -> None:
        """Record a row of a stream; the first row decides which columns there are."""
        data = {name: _plain(value) for name, value in row.items()}
        if stream not in self._streams:
            keys = {name: _data_key(name, value, units) for name, value in data.items()}
            bundle = self._run.compose_descriptor(name=stream, data_keys=keys, time=self.time_s)
            self._streams[stream] = bundle
            self._emit("descriptor", bundle.descriptor_doc)
        event = self._streams[stream].compose_event(
            data=data, timestamps=dict.fromkeys(data, self.time_s), time=self.time_s
        )
        self._emit("event", event)

    def _emit(self, name: str, doc: Any) -> None:
        self._journal(name, dict(doc))


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return int(value)
    return value


def _data_key(name: str, value: Any, units: dict[str, str]) -> dict[str, Any]:
    kind = "integer" if isinstance(value, int) else "number"
    if isinstance(value, str):
        kind = "string"
    unit = units.get(name)
    key: dict[str, Any] = {"source": "analysis", "dtype": kind, "shape": []}
    if unit:
        key["units"] = unit
    return key

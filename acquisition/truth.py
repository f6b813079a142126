"""What a simulated specimen really is, in the words of the results.

Truth is used to check, never to compute: nothing here goes back into an analysis.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zoneplate.analysis.summary import MINIMUM_VOID_UM, summarize
from zoneplate.simulators.specimen import Specimen

from .runs import RunRecord
from .tomogram_file import StoredTomogram, with_region


def truth_of_run(
    record: RunRecord, tomograms: Sequence[StoredTomogram], **options: Any
) -> dict[str, Any] | None:
    """Return the truth about tomograms of a simulated run; None for a real one."""
    file = record.start.get("specimen_file")
    if file is None or not Path(file).exists():
        return None
    return truth_of(Specimen.load(file), tomograms, **options)


def truth_of(
    specimen: Specimen,
    tomograms: Sequence[StoredTomogram],
    *,
    minimum_void_um: float = MINIMUM_VOID_UM,
) -> dict[str, Any]:
    """Return the truth about the particles that lie wholly in the reconstructed fields.

    Parameters
    ----------
    specimen
        What was on the stage.
    tomograms
        The fields: centre, radius and height are taken from them, nothing else.
    minimum_void_um
        Equivalent diameter from which a void counts.

    Returns
    -------
    dict
        The names of `summarize`.
    """
    all_particles, all_voids = specimen.truth_particles(), specimen.truth_voids()
    particles, voids = [], []
    for tomogram in tomograms:
        inside = specimen.whole_in_field(
            tomogram.center_um,
            tomogram.facts["whole_radius_um"],
            tomogram.volume.shape[0] * tomogram.voxel_um / 2,
        )
        chosen = all_particles.loc[np.asarray(inside)]
        particles.append(chosen)
        voids.append(all_voids.loc[all_voids["particle_id"].isin(chosen["particle_id"].tolist())])
    return summarize(with_region(particles), with_region(voids), minimum_void_um=minimum_void_um)

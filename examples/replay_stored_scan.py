"""Replaying a stored scan through the live analysis: what was known when, frame by frame.

    python examples/replay_stored_scan.py [DATA_DIRECTORY]

The newest tomogram of the data directory is replayed; without one, a quick one is taken first.
"""

import sys
import tempfile

from zoneplate.acquisition import open_session, replay
from zoneplate.acquisition.journal import journals, read_journal
from zoneplate.plans import tomography

data_dir = sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="zoneplate-")


def is_tomography(journal):
    """Say whether a journal is that of a tomogram; the first document is the start document."""
    _, start = next(read_journal(journal))
    return start["plan_name"] == "tomography"


def show(preview):
    """Print what the frames so far show."""
    found = preview.summary
    print(
        f"projection {preview.projections:3d}/{preview.planned}: "
        f"{found['particles']['count']:2d} whole particles, "
        f"{found['void_frequency']['k']:2d} with voids"
    )


with open_session("simulated", seed=3, data_dir=data_dir, live=False) as session:
    if not any(map(is_tomography, journals(session.data.journal))):
        session.RE(tomography(session.microscope, center_um=(0, 0, 3), projections=91))
    newest = [path for path in journals(session.data.journal) if is_tomography(path)][-1]

tomogram = replay(read_journal(newest), show, preview_interval_s=0.1)
print(f"final: {len(tomogram.particles)} particles, signal-to-noise {tomogram.snr['snr']:.1f}")

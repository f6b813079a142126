import numpy as np
import pandas as pd

from zoneplate.analysis.particle_defects import describe_defects, find_defects


def powder() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Six particles of two regions: one hollow, one far from round, one cut by the border."""
    particles = pd.DataFrame(
        {
            "particle_id": [1, 2, 3, 1, 2, 3],
            "region": [0, 0, 0, 1, 1, 1],
            "volume_um3": 100.0,
            "equivalent_diameter_um": 5.76,
            "sphericity_grey": [0.99, 0.98, 0.6, 0.7, np.nan, 0.97],
            "touches_border": [False, False, True, False, False, False],
        }
    )
    voids = pd.DataFrame(
        {
            "particle_id": [1, 2],
            "region": [1, 0],
            "volume_um3": [10.0, 40.0],
            "equivalent_diameter_um": [2.67, 4.24],
        }
    )
    return particles, voids


def test_hollow_and_misshapen_particles_are_counted_among_whole_ones():
    found = describe_defects(*powder())
    assert (found["hollow"]["k"], found["hollow"]["n"]) == (1, 5)
    assert (found["misshapen"]["k"], found["misshapen"]["value"]) == (1, 0.2)
    assert found["misshapen"]["low"] < 0.2 < found["misshapen"]["high"]
    marked = find_defects(*powder())
    assert marked.loc[marked["hollow"], ["region", "particle_id"]].to_numpy().tolist() == [[0, 2]]
    assert marked.loc[marked["misshapen"], "region"].tolist() == [1]


def test_cracked_particles_are_counted_apart_from_those_with_voids():
    particles, voids = powder()
    assert "cracked" not in describe_defects(particles, voids)  # nobody looked for open pores
    particles = particles.assign(
        open_pore_count=[0, 1, 2, 0, 3, 0], open_pore_volume_um3=[0, 9.0, 5.0, 0, 11.0, 0]
    )
    found = describe_defects(particles, voids)
    # Of five whole ones 2 and 5 are cracked, and 2 and 4 have a void.
    assert (found["cracked"]["k"], found["cracked"]["n"]) == (2, 5)
    assert (found["void_or_open_pore"]["k"], found["hollow"]["k"]) == (3, 1)
    assert found["open_pore_fraction"]["value"] == 20.0 / 500.0
    marked = find_defects(particles, voids)
    assert marked.loc[marked["cracked"], ["region", "particle_id"]].to_numpy().tolist() == [
        [0, 2],
        [1, 2],
    ]
    assert describe_defects(particles.head(0), voids)["cracked"]["value"] is None


def test_no_particles_have_no_defects():
    found = describe_defects(powder()[0].head(0), pd.DataFrame())
    assert (found["hollow"]["value"], found["hollow"]["k"]) == (None, 0)

"""The report of an alignment: its figures are those of the record."""

from __future__ import annotations

from gpustitch.model import Link, Match, Placement, Spacing, Support
from gpustitch.oblique.align.report import report_text
from gpustitch.oblique.mosaic.file import AlignmentRecord

SIGMA = {"0_3312_0": (0.01, 0.02, 0.03), "713_0_0": (1.0, 1000.0, 5.0)}
SUPPORT: dict[str, Support] = {"0_3312_0": "loop", "713_0_0": "stage"}
HELD = (("713_0_0",), SIGMA, SUPPORT)
LINK_SIGMA = (0.0123, 0.02, 0.03)


def test_every_figure_stands_in_its_column() -> None:
    stage = {"0_0_0": (0.0, 0.0, 0.0), "0_3312_0": (0.0, 331.2, 0.0), "713_0_0": (71.3, 0.0, 0.0)}
    links = (
        Link(
            "0_0_0",
            "0_3312_0",
            (0.875, 164.75, -2.875),
            (0.1, 0.2, 0.3),
            (Match((1, 2, 3), (1, 2, 3), 0.9),) * 2,
            "",
            (0.0123, 0.02, 0.03),
        ),
        Link("0_0_0", "713_0_0", (0.0, 0.0, 56.0), (0.0, 0.0, 0.0), (), "no room"),
    )
    origin = {"0_0_0": (0.0, 0.0, 2.875), "0_3312_0": (0.875, 180.75, 0.0), "713_0_0": (0.5, 0.0, 58.5)}
    text = report_text(
        AlignmentRecord(
            placement=Placement(
                origin, {("0_0_0", "0_3312_0"): (0.01, -0.02, 0.0)}, links, ("713_0_0",), SIGMA, SUPPORT
            ),
            stage_um=stage,
            nominal_px={"0_0_0": (0, 0, 0), "0_3312_0": (0, 184, 0), "713_0_0": (0, 0, 56)},
            spacing=Spacing(1.27, 1.782, 1.28),
            voxel_size_nominal_um=1.8,
            voxel_size_estimate_um=1.782,
            voxel_size_uncertainty_um=0.004,
            counts={("0_0_0", "0_3312_0"): (20, 5, 2)},
            align_xz=True,
            negative_y=False,
        )
    )
    assert "3 tiles, 1 link accepted, 1 rejected, worst residual 0.02 voxels" in text
    assert "y voxel size: nominal 1.8 um, estimated 1.7820 +- 0.0040 um (95 %), used 1.7820 um" in text
    # Moved by: where it begins less where the stage has it.
    assert (
        "| 0_3312_0 | 0, 331.2, 0 | 0.00, 180.75, 0.88 | 0.00, -3.25, 0.88 | 0.038, 0.036, 0.013 | a loop of links |"
        in text
    )
    assert "| 713_0_0 | 71.3, 0, 0 | 58.50, 0.00, 0.50 | 2.50, 0.00, 0.50 | 6.4, 1782, 1.3 | the stage alone |" in text
    assert "| 0_0_0 | 0, 0, 0 | 2.88, 0.00, 0.00 | 2.88, 0.00, 0.00 | not known | not known |" in text
    accepted = "| 0_0_0 | 0_3312_0 | -2.88, 164.75, 0.88 | 0.03, 0.02, 0.012 | 0.30, 0.20, 0.10 |"
    assert f"{accepted} 0.00, -0.02, 0.01 | 2 / 5 / 20 |" in text.partition("## Rejected links")[0]
    assert "| 0_0_0 | 713_0_0 | not measured | not known | not measured | 0 / 0 / 0 | no room |" in text
    assert "at their stage position: 713_0_0" in text

"""What a TIFF says of itself."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from gpustitch.errors import DamagedInputError, InputMissingError
from gpustitch.io.images.tiff_facts import tiff_facts
from gpustitch.model import Spacing

VOXELS = np.zeros((4, 8, 9), np.uint8)


def imagej(path, text, voxels=VOXELS, resolution=(4, 2), **options):
    description = f"ImageJ=1.54f\n{text}"
    options |= {"metadata": None, "photometric": "minisblack"}
    tifffile.imwrite(path, voxels, description=description, resolution=resolution, **options)
    return tiff_facts(path)


def ome(path, text):
    """A TIFF with an OME description of these attributes of its Pixels."""
    text += ' SizeX="9" SizeY="8" SizeT="1" Type="uint8" DimensionOrder="XYZCT"'
    xml = f'<?xml version="1.0"?><OME xmlns="x"><Image><Pixels {text}><TiffData/></Pixels></Image></OME>'
    tifffile.imwrite(path, VOXELS, description=xml, metadata=None, photometric="minisblack")
    return tiff_facts(path)


def test_imagej_s_distances_are_of_its_unit(tmp_path):
    found = imagej(tmp_path / "a.tif", "images=4\nslices=4\nunit=mm\nspacing=0.5\n")
    assert found.spacing == Spacing(500.0, 500.0, 250.0) and found.stated_um == (500.0, 500.0, 250.0)
    assert (found.source, found.z_is_implied, found.lengths) == ("ImageJ", False, {"C": 1, "T": 1, "Z": 4})


def test_imagej_s_units_of_y_and_z_are_their_own(tmp_path):
    found = imagej(tmp_path / "a.tif", "images=4\nunit=um\nyunit=nm\nzunit=mm\nspacing=2\n")
    assert found.stated_um == pytest.approx((2000.0, 5e-4, 0.25))
    found = imagej(tmp_path / "b.tif", "images=4\nunit=um\nzunit=pixel\nspacing=2\n")
    assert found.stated_um == (None, 0.5, 0.25) and found.spacing is None


def test_a_distance_left_out_is_one_unit_and_said_to_be_implied(tmp_path):
    found = imagej(tmp_path / "a.tif", "images=4\nunit=um\n")
    assert found.stated_um == (1.0, 0.5, 0.25) and found.z_is_implied
    single = imagej(tmp_path / "b.tif", "unit=um\n", VOXELS[0])  # one plane says nothing of the next
    assert single.stated_um == (None, 0.5, 0.25) and not single.z_is_implied
    assert imagej(tmp_path / "c.tif", "unit=um\nspacing=3\n", VOXELS[0]).stated_um[0] == 3.0


def test_planes_are_not_an_inch_apart_unless_that_is_written(tmp_path):
    found = imagej(tmp_path / "a.tif", "images=4\nunit=inch\n", resolution=(72, 72))
    assert found.stated_um == pytest.approx((None, 25400 / 72, 25400 / 72)) and found.resolution is not None
    assert imagej(tmp_path / "b.tif", "images=4\nunit=inch\nspacing=2\n").stated_um[0] == 50800.0


@pytest.mark.parametrize("unit", ["unit=pixel\n", "", "unit=\n"])
def test_pixels_are_no_distances(tmp_path, unit):
    found = imagej(tmp_path / "a.tif", f"images=4\n{unit}spacing=2\n")
    assert found.stated_um == (None, None, None) and found.spacing is None and found.source == "ImageJ"


@pytest.mark.parametrize("spacing", ["0", "nan", "inf", "soon"])
def test_a_distance_that_is_none_is_not_stated(tmp_path, spacing):
    found = imagej(tmp_path / "a.tif", f"images=4\nunit=um\nspacing={spacing}\n")
    assert found.stated_um == (None, 0.5, 0.25) and found.spacing is None


def test_negative_distances_are_of_stacks_from_top_to_bottom(tmp_path):
    assert imagej(tmp_path / "a.tif", "images=4\nunit=um\nspacing=-2.5\n").stated_um[0] == 2.5


def test_ome_s_sizes_are_um_unless_they_say_otherwise(tmp_path):
    text = 'SizeZ="2" SizeC="2" PhysicalSizeX="0.25" PhysicalSizeY="500" PhysicalSizeYUnit="nm" PhysicalSizeZ="3"'
    found = ome(tmp_path / "a.tif", text)
    assert (
        found.spacing == Spacing(3.0, 0.5, 0.25) and found.source == "OME" and found.lengths == {"Z": 2, "C": 2, "T": 1}
    )
    found = ome(tmp_path / "b.tif", text.replace("nm", "pixel").replace('"3"', '"0"'))
    assert found.stated_um == (None, None, 0.25) and found.spacing is None


def test_a_description_that_cannot_be_read_states_nothing(tmp_path):
    for number, xml in enumerate(("<OME", "<OME></OME>")):
        text = f'<?xml version="1.0"?>{xml}' + ("" if xml.endswith("</OME>") else "</OME>")
        tifffile.imwrite(tmp_path / f"{number}.tif", VOXELS, description=text, metadata=None, photometric="minisblack")
        assert tiff_facts(tmp_path / f"{number}.tif").stated_um == (None, None, None)


def test_resolution_is_read_beside_the_description_and_never_mixed_with_it(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif",
        VOXELS[0],
        metadata=None,
        resolution=(100, 50),
        resolutionunit="centimeter",
        photometric="minisblack",
    )
    found = tiff_facts(tmp_path / "a.tif")
    assert found.stated_um == (None, None, None) and found.source == ""
    assert found.resolution.spacing_mm == pytest.approx((0.2, 0.1)) and not found.resolution.is_default
    tifffile.imwrite(tmp_path / "b.tif", VOXELS, metadata=None, photometric="minisblack")
    assert tiff_facts(tmp_path / "b.tif").resolution.is_default
    assert imagej(tmp_path / "c.tif", "unit=um\n", resolution=(4, 0)).stated_um[1] is None


def test_files_that_are_no_tiff_are_named(tmp_path):
    with pytest.raises(InputMissingError, match=r"a\.tif"):
        tiff_facts(tmp_path / "a.tif")
    (tmp_path / "a.tif").write_bytes(b"II*\0 and no more")
    with pytest.raises(DamagedInputError, match=r"a\.tif"):
        tiff_facts(tmp_path / "a.tif")

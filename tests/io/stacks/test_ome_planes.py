"""Which page of which file holds a plane, as OME-XML says."""

from __future__ import annotations

import pytest

from gpustitch.io.stacks.ome_planes import metadata_file, ome_stacks


def xml(data, *, order="XYZCT", sizes=(4, 1, 1), more="", root="", channel=""):
    z, c, t = sizes
    pixels = f'DimensionOrder="{order}" Type="uint16" SizeX="9" SizeY="8" SizeZ="{z}" SizeC="{c}" SizeT="{t}" {more}'
    return f'<OME xmlns="x" {root}><Image><Pixels {pixels}>{channel}{data}</Pixels></Image></OME>'


def test_all_planes_in_order():
    (stack,) = ome_stacks(xml("<TiffData/>", more='PhysicalSizeZ="3" PhysicalSizeX="1" PhysicalSizeXUnit="nm"'))
    assert stack.pages == tuple(("", page) for page in range(4))
    assert (stack.shape, stack.pixels, stack.stated_um) == ((8, 9), "uint16", (3.0, None, 1e-3))
    assert (stack.image, stack.channel, stack.time, stack.n_channels) == (0, 0, 0, 1)


@pytest.mark.parametrize(
    ("order", "pages"),
    [("XYZCT", [0, 1, 2]), ("XYCZT", [0, 2, 4]), ("XYCTZ", [0, 4, 8]), ("XYTCZ", [0, 4, 8]), ("XYTZC", [0, 2, 4])],
)
def test_planes_follow_in_the_order_of_the_axes(order, pages):
    stacks = ome_stacks(xml('<TiffData IFD="0" PlaneCount="12"/>', order=order, sizes=(3, 2, 2)))
    assert len(stacks) == 4
    assert [page for _, page in stacks[0].pages] == pages
    everything = [page for stack in stacks for _, page in stack.pages]
    assert sorted(everything) == list(range(12))


def test_a_page_alone_is_one_plane_and_planes_nowhere_are_none():
    data = '<TiffData IFD="5" FirstZ="1"/><TiffData IFD="2" FirstZ="3"/>'
    (stack,) = ome_stacks(xml(data))
    assert stack.pages == (None, ("", 5), None, ("", 2))


def test_other_files_are_named_and_the_file_itself_is_known_by_its_uuid():
    data = "".join(
        f'<TiffData FirstZ="{z}" IFD="0"><UUID FileName="s{z}.ome.tif">urn:uuid:{z}</UUID></TiffData>' for z in range(4)
    )
    (stack,) = ome_stacks(xml(data, root='UUID="urn:uuid:2"'))
    assert stack.pages == (("s0.ome.tif", 0), ("s1.ome.tif", 0), ("", 0), ("s3.ome.tif", 0))
    (unknown,) = ome_stacks(xml(data))
    assert unknown.pages[2] == ("s2.ome.tif", 0)


def test_samples_of_a_colour_are_no_channels():
    (stack,) = ome_stacks(xml("<TiffData/>", sizes=(4, 3, 1), channel='<Channel SamplesPerPixel="3"/>'))
    assert stack.pixels == "uint16 x 3" and len(stack.pages) == 4


def test_each_image_of_a_description_is_a_stack():
    text = xml("<TiffData/>").replace("</OME>", "") + xml("<TiffData/>")[len('<OME xmlns="x" >') :]
    assert [(stack.image, stack.n_images) for stack in ome_stacks(text)] == [(0, 2), (1, 2)]


def test_a_file_that_names_where_its_metadata_is():
    text = '<OME xmlns="x"><BinaryOnly MetadataFile="all.ome.tif" UUID="urn:uuid:1"/></OME>'
    assert metadata_file(text) == "all.ome.tif" and ome_stacks(text) == []
    assert metadata_file(xml("<TiffData/>")) == "" and metadata_file("<OME") == ""


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("<OME", "not XML"),
        (xml("<TiffData/>").replace("SizeX", "Sixe"), "lacks SizeX"),
        (xml("<TiffData/>", order="XYZZT"), "DimensionOrder"),
        (xml("<TiffData/>", sizes=(0, 1, 1)), "counts 0"),
        (xml("<TiffData/>", sizes=(1 << 30, 1, 1)), "planes"),
        (xml('<TiffData IFD="one"/>'), "one"),
    ],
)
def test_descriptions_that_say_nothing_sensible(text, match):
    with pytest.raises(ValueError, match=match):
        ome_stacks(text)


def test_counts_beyond_the_image_are_cut():
    (stack,) = ome_stacks(xml('<TiffData IFD="1" FirstZ="2" PlaneCount="1000000000"/>'))
    assert stack.pages == (None, None, ("", 1), ("", 2))

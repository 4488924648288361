"""Which page of which file holds each plane, as an OME-XML description says (Open Microscopy Environment, 2016-06)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from xml.etree import ElementTree

from gpustitch.io.images.tiff_facts import ome_um
from gpustitch.io.units import um_per
from gpustitch.model.arrays import LengthsZYX

_MOST_PLANES = 1 << 24  # a description of more is damaged
_AXES = "ZCT"


@dataclass(frozen=True)
class OmeStack:
    """Planes of one image, channel and time.

    Attributes
    ----------
    image, channel, time
        Numbers of these, from 0, and in ``n_images``, ``n_channels``, ``n_times`` how many there are.
    pages
        For each z (file name, page); the name is empty for the file with the description, the pair None for a plane
        that no file holds.
    shape
        (rows, columns).
    pixels
        Type, as ``uint8`` or ``uint8 x 3``.
    stated_um
        PhysicalSizeZ, Y and X; None for each that is not stated.
    own_names
        What the description calls the file that it is in.
    positions_um
        By z, PositionZ and the value of its last decimal, where it is stated with a unit of length.
    """

    image: int
    channel: int
    time: int
    n_images: int
    n_channels: int
    n_times: int
    pages: tuple[tuple[str, int] | None, ...]
    shape: tuple[int, int]
    pixels: str
    stated_um: LengthsZYX
    own_names: frozenset[str] = frozenset()
    positions_um: Mapping[int, tuple[float, float]] = field(default_factory=dict)

    @property
    def key(self) -> dict[str, str]:
        """Numbers, from 1, of the image, channel and time where there are several."""
        numbers = (
            ("image", self.image, self.n_images),
            ("channel", self.channel, self.n_channels),
            ("time", self.time, self.n_times),
        )
        return {name: str(number + 1) for name, number, count in numbers if count > 1}


def ome_stacks(text: str) -> list[OmeStack]:
    """Stacks that an OME-XML text describes; none if it only names the file with the metadata.

    Raises
    ------
    ValueError
        If it is not XML, or no description of images.
    """
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"its OME description is not XML ({error})") from error
    images = root.findall("./{*}Image/{*}Pixels")
    own = root.get("UUID", "")
    try:
        return [stack for n, image in enumerate(images) for stack in _stacks(image, n, len(images), own)]
    except KeyError as error:
        raise ValueError(f"its OME description lacks {error.args[0]}") from error


def metadata_file(text: str) -> str:
    """Name of the file that holds the metadata of this one; empty if that is the file itself."""
    try:
        binary = ElementTree.fromstring(text).find("./{*}BinaryOnly")
    except ElementTree.ParseError:
        return ""
    return "" if binary is None else binary.get("MetadataFile", "")


def _stacks(pixels: ElementTree.Element, image: int, n_images: int, own: str) -> Iterator[OmeStack]:
    """A stack for each channel and time of an image; ValueError for counts that no image has."""
    stated = pixels.attrib
    samples = _samples(pixels)
    sizes = {axis: int(stated.get(f"Size{axis}", 1)) for axis in _AXES}
    sizes["C"] //= samples
    if min(sizes.values()) < 1 or sizes["Z"] * sizes["C"] * sizes["T"] > _MOST_PLANES:
        raise ValueError(f"its OME description counts {sizes['Z']} x {sizes['C']} x {sizes['T']} planes (z, c, t)")
    uuids = [uuid for uuid in pixels.findall("./{*}TiffData/{*}UUID") if own and (uuid.text or "").strip() == own]
    places = _places(pixels, stated.get("DimensionOrder", "XYZCT")[2:], sizes, own)
    positions = _positions(pixels)
    kind = {"float": "float32", "double": "float64"}.get(stated["Type"], stated["Type"])
    for time in range(sizes["T"]):
        for channel in range(sizes["C"]):
            yield OmeStack(
                image, channel, time, n_images, sizes["C"], sizes["T"],
                pages=tuple(places.get((z, channel, time)) for z in range(sizes["Z"])),
                shape=(int(stated["SizeY"]), int(stated["SizeX"])),
                pixels=kind if samples == 1 else f"{kind} x {samples}",
                stated_um=ome_um(stated),
                own_names=frozenset(uuid.get("FileName", "") for uuid in uuids),
                positions_um=positions.get((channel, time), {}),
            )  # fmt: skip


def _positions(pixels: ElementTree.Element) -> dict[tuple[int, int], dict[int, tuple[float, float]]]:
    """(c, t) -> z -> PositionZ and the value of its last decimal, um. Without a unit it is in no known frame."""
    found: dict[tuple[int, int], dict[int, tuple[float, float]]] = {}
    for plane in pixels.findall("./{*}Plane"):
        um = um_per(plane.get("PositionZUnit"))
        if um is None:
            continue
        try:
            written = Decimal(plane.get("PositionZ", "").strip())
            z, c, t = (int(plane.get(f"The{axis}", 0)) for axis in _AXES)
        except (InvalidOperation, ValueError):
            continue
        exponent = written.as_tuple().exponent
        if isinstance(exponent, int):  # else it is no finite number
            found.setdefault((c, t), {})[z] = (float(written) * um, 10.0**exponent * um)
    return found


def _samples(pixels: ElementTree.Element) -> int:
    channel = pixels.find("./{*}Channel")
    return 1 if channel is None else max(1, int(channel.get("SamplesPerPixel", 1)))


def _places(
    pixels: ElementTree.Element, order: str, sizes: Mapping[str, int], own: str
) -> dict[tuple[int, int, int], tuple[str, int]]:
    """(z, c, t) -> (file, page). A TiffData names its first plane and page; the others follow in the order of axes."""
    if sorted(order) != sorted(_AXES):
        raise ValueError(f"its OME description has the DimensionOrder XY{order}")
    n_planes = sizes["Z"] * sizes["C"] * sizes["T"]
    places: dict[tuple[int, int, int], tuple[str, int]] = {}
    for data in pixels.findall("./{*}TiffData"):
        uuid = data.find("./{*}UUID")
        is_own = uuid is None or (own and (uuid.text or "").strip() == own)
        name = "" if uuid is None or is_own else uuid.get("FileName", "")
        page = int(data.get("IFD", 0))
        count = int(data.get("PlaneCount", 1 if "IFD" in data.attrib else n_planes))
        first = {axis: int(data.get(f"First{axis}", 0)) for axis in _AXES}
        linear = first[order[0]] + sizes[order[0]] * (first[order[1]] + sizes[order[1]] * first[order[2]])
        for step in range(min(count, n_planes - linear)):
            rest, index = linear + step, {}
            for axis in order:
                rest, index[axis] = divmod(rest, sizes[axis])
            places[index["Z"], index["C"], index["T"]] = (name, page + step)
    return places

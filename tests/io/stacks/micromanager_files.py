"""TIFFs as Micro-Manager writes them: with an index of its own beside the OME description."""

from __future__ import annotations

import json
import struct

_AHEAD = 162  # bytes of a page's tags


def write_mmstack(path, pages, index, text, *, slices_first=True):
    """``index`` has (channel, z, time, position) of each uint16 page, ``text`` is the OME description."""
    n_c, n_z, n_t, n_p = (max(numbers) + 1 for numbers in zip(*index, strict=True))
    summary = {"MicroManagerVersion": "2.0", "Prefix": path.name.partition("_")[0], "SlicesFirst": slices_first}
    summary |= {"Channels": n_c, "Slices": n_z, "Frames": n_t, "Positions": n_p, "TimeFirst": False}
    head, (n_y, n_x), size = json.dumps(summary).encode(), pages[0].shape, pages[0].nbytes
    offsets = [40 + len(head) + k * (_AHEAD + size) for k in range(len(pages))]
    end = offsets[-1] + _AHEAD + size
    texts = text.encode() + b"\0", b'{"Frame":0}\0'
    tags_at = end + len(texts[0])
    index_at = tags_at + len(texts[1])
    settings_at = index_at + 8 + 20 * len(pages)
    numbers = (54773648, index_at, 483765892, settings_at, 99384722, settings_at, 2355492, len(head))
    out = b"II*\0" + struct.pack("<9I", offsets[0], *numbers) + head
    for k, page in enumerate(pages):
        tags = [(256, 4, 1, n_x), (257, 4, 1, n_y), (258, 3, 1, 16), (259, 3, 1, 1), (262, 3, 1, 1)]
        tags += [(273, 4, 1, offsets[k] + _AHEAD), (277, 3, 1, 1), (278, 3, 1, n_y), (279, 4, 1, size), (284, 3, 1, 1)]
        tags += [(296, 3, 1, 1), (51123, 2, len(texts[1]), tags_at)]
        tags.append((270, 2, len(texts[0]), end) if k == 0 and text else (339, 3, 1, 1))
        following = offsets[k + 1] if k + 1 < len(pages) else 0
        out += struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
        out += struct.pack("<I", following) + page.astype("<u2").tobytes()
    out += b"".join(texts) + struct.pack("<II", 3453623, len(pages))
    out += b"".join(struct.pack("<5I", *numbers, at) for numbers, at in zip(index, offsets, strict=True))
    path.write_bytes(out + struct.pack("<4I", 347834724, 0, 84720485, 0))


def ome_text(places, shape, own):
    """The OME description of planes: ``places`` has ((channel, z, time, position), file, page) of each."""
    n_c, n_z, n_t, _ = (max(numbers) + 1 for numbers in zip(*(index for index, _, _ in places), strict=True))
    data = "".join(
        f'<TiffData FirstC="{c}" FirstT="{t}" FirstZ="{z}" IFD="{page}" PlaneCount="1">'
        f'<UUID FileName="{file}">urn:{file}</UUID></TiffData>'
        for (c, z, t, _), file, page in places
    )
    sizes = f'SizeC="{n_c}" SizeT="{n_t}" SizeX="{shape[1]}" SizeY="{shape[0]}" SizeZ="{n_z}" Type="uint16"'
    channels = '<Channel SamplesPerPixel="1"/>' * n_c
    schema = "http://www.openmicroscopy.org/Schemas/OME/2013-06"
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="{schema}" UUID="urn:{own}"><Image>'
        f'<Pixels DimensionOrder="XYZCT" {sizes}>{channels}{data}</Pixels></Image></OME>'
    )


def write_ndtiff(path, pages, axes):
    """An NDTiff and its index; ``axes`` is a mapping for each page, such as ``{"z": 0, "channel": "DAPI"}``."""
    head, (n_y, n_x), size = b"{}", pages[0].shape, pages[0].nbytes
    n_ahead = 2 + 12 * 11 + 4
    offsets = [28 + len(head) + k * (n_ahead + size) for k in range(len(pages))]
    out = b"II*\0" + struct.pack("<6I", offsets[0], 483729, 3, 3, 2355492, len(head)) + head
    index = b""
    for k, page in enumerate(pages):
        tags = [(256, 4, 1, n_x), (257, 4, 1, n_y), (258, 3, 1, 16), (259, 3, 1, 1), (262, 3, 1, 1)]
        tags += [(273, 4, 1, offsets[k] + n_ahead), (277, 3, 1, 1), (278, 3, 1, n_y), (279, 4, 1, size), (339, 3, 1, 1)]
        tags.append((51123, 2, 3, int.from_bytes(b"{}", "little")))
        following = offsets[k + 1] if k + 1 < len(pages) else 0
        out += struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
        out += struct.pack("<I", following) + page.astype("<u2").tobytes()
        text, name = json.dumps(axes[k]).encode(), path.name.encode()
        index += struct.pack("<I", len(text)) + text + struct.pack("<I", len(name)) + name
        index += struct.pack("<IiiiiIii", offsets[k] + n_ahead, n_x, n_y, 1, 0, 0, 0, 0)
    path.write_bytes(out)
    with (path.parent / "NDTiff.index").open("ab") as file:
        file.write(index)

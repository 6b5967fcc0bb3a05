"""The mark "edited with a generative model" in XMP (§3.7): implied by the format, so that it takes no bytes of a file.

The term is IPTC's digital source type for "augmentation, correction or enhancement using a generative model".
"""

from __future__ import annotations

import re

TERM = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
PROPERTY = b"DigitalSourceType"
VALUE = re.compile(rb"DigitalSourceType\s*(?:=\s*[\"']|>)\s*([^\"'<\s]+)")  # as an attribute or as an element
DESCRIPTION = (
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    f'Iptc4xmpExt:DigitalSourceType="{TERM}"/>'
).encode()
PACKET = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    + DESCRIPTION
    + b'</rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
)
END = b"</rdf:RDF>"


def added(xmp: bytes) -> bytes:
    """The packet of a file, b"" if it has none, with the mark.

    One that states a digital source type, or is not RDF in UTF-8, stays.
    """
    if not xmp:
        return PACKET
    end = xmp.rfind(END)
    return xmp if PROPERTY in xmp or end < 0 else xmp[:end] + DESCRIPTION + xmp[end:]


def removed(xmp: bytes) -> bytes:
    """What `added` was given, so that the mark is never stored."""
    return b"" if xmp == PACKET else xmp.replace(DESCRIPTION, b"", 1)


def stated(xmp: bytes) -> str | None:
    """The digital source type that a file's packet, b"" if it has none, gives the picture: the mark unless it states
    another.
    """
    found = VALUE.search(added(xmp))
    return found[1].decode(errors="replace") if found else None

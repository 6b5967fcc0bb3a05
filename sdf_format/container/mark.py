"""The mark "edited with a generative model" in XMP (§3.7): implied by the format, so that it takes no bytes of a file.

The term is IPTC's digital source type for "augmentation, correction or enhancement using a generative model".
"""

from __future__ import annotations

import re
from xml.parsers import expat

TERM = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
PROPERTY = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/ DigitalSourceType"
RESOURCE = f"{RDF} resource"
DESCRIPTION = (
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    f'Iptc4xmpExt:DigitalSourceType="{TERM}"/>'
).encode()
# The same where the packet has another prefix for RDF.
DECLARED = DESCRIPTION.replace(b"<rdf:Description ", f'<rdf:Description xmlns:rdf="{RDF}" '.encode())
PACKET = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    + DESCRIPTION
    + b'</rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
)
NAME = re.compile(rb"<([^\s/>]+)")
DEEPEST, MOST = 256, 1 << 18  # elements in one another, and in all; no packet that means anything has as many


class _Refused(Exception):
    """What is no packet."""


class _Packet:
    """What a packet states, and where its RDF is: one pass of an XML parser that keeps no tree.

    Raises _Refused, expat.ExpatError.

    source  the digital source type, or None
    start, end  of the tag that begins the last rdf:RDF and of the one that ends it, in bytes; None without any
    """

    def __init__(self, xmp: bytes):
        self.source: str | None = None
        self.start: int | None = None
        self.end: int | None = None
        self.depth = self.count = 0
        self.text: list[str] | None = None  # of the property's element, while the parser is in it
        self.parser = expat.ParserCreate("utf-8", namespace_separator=" ")
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._begin
        self.parser.EndElementHandler = self._finish
        self.parser.CharacterDataHandler = self._said
        self.parser.StartDoctypeDeclHandler = self._refuse  # entities could be anything
        self.parser.Parse(xmp, True)

    def _refuse(self, *_: object) -> None:
        raise _Refused

    def _begin(self, name: str, attributes: dict[str, str]) -> None:
        self.depth += 1
        self.count += 1
        if self.depth > DEEPEST or self.count > MOST:
            raise _Refused
        if name == f"{RDF} RDF":
            self.start = self.parser.CurrentByteIndex
        if name == PROPERTY:
            self.text = [attributes.get(RESOURCE, "")]
        elif PROPERTY in attributes:
            self.source = self.source or attributes[PROPERTY].strip()

    def _said(self, text: str) -> None:
        if self.text is not None:
            self.text.append(text)

    def _finish(self, name: str) -> None:
        self.depth -= 1
        if name == f"{RDF} RDF":
            self.end = self.parser.CurrentByteIndex
        if name == PROPERTY and self.text is not None:
            self.source = self.source or "".join(self.text).strip()
            self.text = None


def _parsed(xmp: bytes) -> _Packet | None:
    """None for what is no XML in UTF-8 with an rdf:RDF."""
    try:
        found = _Packet(xmp.strip(b"\0 \t\r\n"))
    except (_Refused, expat.ExpatError, UnicodeError, ValueError):
        return None
    return None if found.start is None else found


def added(xmp: bytes) -> bytes:
    """The packet of a file, b"" if it has none, with the mark.

    One that states a digital source type stays. What is no RDF in UTF-8 cannot take the mark, and gives way to it.
    """
    body = xmp.strip(b"\0 \t\r\n")
    packet = _parsed(body) if body else None
    if packet is None:
        return PACKET
    if packet.source:
        return xmp
    assert packet.start is not None and packet.end is not None
    own = DESCRIPTION if body[packet.start :].startswith(b"<rdf:") else DECLARED
    found = NAME.match(body, packet.start)
    name = found[1] if found else b""
    if not body.startswith(b"</" + name, packet.end):
        # An element without content: its tag becomes two. Its end is where the tag ends, or, of some parsers, begins.
        close = (
            body.rfind(b"/>", packet.start, packet.end) if packet.end > packet.start else body.find(b"/>", packet.start)
        )
        marked = body[:close] + b">" + own + b"</" + name + b">" + body[close + 2 :]
        again = _parsed(marked)  # where an attribute has the characters of a tag's end, it is no packet any more
        return marked if again and again.source == TERM else PACKET
    return body[: packet.end] + own + body[packet.end :]


def removed(xmp: bytes) -> bytes:
    """What `added` was given, so that the mark is never stored."""
    if xmp == PACKET:
        return b""
    return xmp.replace(DECLARED if DECLARED in xmp else DESCRIPTION, b"", 1)


def stated(xmp: bytes) -> str | None:
    """The digital source type that a file's packet, b"" if it has none, gives the picture: the mark unless it states
    another.
    """
    packet = _parsed(added(xmp))
    return packet.source if packet else None

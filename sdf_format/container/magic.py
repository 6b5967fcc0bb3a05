"""The eight bytes that every file begins with (§3.1), apart from the parser, so that knowing them costs no import."""

SIGNATURE = b"\x89SDF\r\n\x1a\n"
MEDIA_TYPE = "image/vnd.sdf-format.sdf"
EXTENSION = ".sdf"

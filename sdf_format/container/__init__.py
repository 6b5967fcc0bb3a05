"""Bytes to typed fields and back (§3, §5): no torch, no pictures, no models."""

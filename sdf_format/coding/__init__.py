"""Bits: shared noise, entropy coding, and in `rcc` reverse channel coding. Knows no pictures, models or files."""

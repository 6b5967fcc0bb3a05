"""Registered models and others of diffusers: found, checked, loaded (§4). `registry` to `loading` import no torch."""

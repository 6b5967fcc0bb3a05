"""Denoisers (table 5.3) by name, as callers write them."""

from __future__ import annotations


def denoiser_ids(wanted: str | tuple[str, int] | None) -> tuple[int, int] | None:
    """The ids of table 5.3 for "mean", "flow" or ("flow", steps); None stays None. BadInput for anything else."""
    if wanted is None:
        return None
    from sdf_format import arguments
    from sdf_format.container.parameters import DENOISERS, FLOW_STEPS, MEAN
    from sdf_format.errors import BadInput

    name, *steps = wanted if isinstance(wanted, (tuple, list)) else (wanted,)
    number = next((n for n, known in DENOISERS.items() if isinstance(name, str) and name == known), None)
    if number is not None and len(steps) < 2:
        most = 1 if number == MEAN else 31
        return number, arguments.whole("steps of the denoiser", steps[0], 1, most) if steps else min(most, FLOW_STEPS)
    raise BadInput(
        f"denoiser {wanted!r}: wanted one of {', '.join(DENOISERS.values())}, or one of the latter three with steps, "
        "('flow', 1..31)"
    )

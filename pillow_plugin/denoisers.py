"""Denoisers (table 5.3) by name, as callers write them."""

from __future__ import annotations


def denoiser_ids(wanted: str | tuple[str, int] | None) -> tuple[int, int] | None:
    """The ids of table 5.3 for "mean", "flow" or ("flow", steps); None stays None. BadInput for anything else."""
    from sdf_format.container.parameters import DENOISERS, FLOW_STEPS, MEAN
    from sdf_format.errors import BadInput

    if wanted is None:
        return None
    name, steps = (wanted, None) if isinstance(wanted, str) else wanted
    for number, known in DENOISERS.items():
        if name == known:
            steps = steps if steps is not None else 1 if number == MEAN else FLOW_STEPS
            if isinstance(steps, int) and (steps == 1 if number == MEAN else 1 <= steps <= 31):
                return number, steps
    raise BadInput(
        f"denoiser {wanted!r}: wanted one of {', '.join(DENOISERS.values())}, or one of the latter three with steps, "
        "('flow', 1..31)"
    )

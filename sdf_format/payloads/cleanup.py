"""Clean-up (§5.5): a quantised latent as one with noise, and what a diffusion model makes of it."""

from __future__ import annotations

import math

from torch import Tensor

from sdf_format.container.parameters import CLEANUP_GAIN, CLEANUP_LEVEL, FLOW, MEAN, REALISM, Cleanup
from sdf_format.diffusion import walk
from sdf_format.errors import BadInput, Unsupported
from sdf_format.models.loading import Model
from sdf_format.progress import Progress

STEPS = range(32)  # 0: none


def measured(latent: Tensor, quantised: Tensor, steps: int) -> Cleanup:
    """The gain after which the error is uncorrelated with the latent, as noise is, and the level of what is left."""
    shrinkage = float((latent * quantised).sum() / latent.square().sum().clamp_min(1e-12))
    gain = max(1, min(255, round(CLEANUP_GAIN / max(shrinkage, 1e-3))))
    error = float((quantised * gain / CLEANUP_GAIN - latent).square().mean())
    level = max(-128, min(127, round(-math.log(max(error, 1e-12)) * CLEANUP_LEVEL)))
    return Cleanup((FLOW, steps) if steps > 1 else (MEAN, 1), level, gain)


def choose(latent: Tensor, quantised: Tensor, model: Model, steps: int | None, progress: Progress) -> Cleanup | None:
    """Clean-up for a latent that arrives as `quantised`.

    steps  of the probability flow; 1: the posterior mean; 0: none; None: the posterior mean if that is nearer to the
           latent, none if not
    Raises BadInput for steps with a model that predicts nothing.
    """
    able = hasattr(model, "predict")
    if steps and not able:
        raise BadInput("cleanup needs a diffusion model; this folder has an autoencoder alone")
    if steps == 0 or not able:
        return None
    wanted = measured(latent, quantised, steps or 1)
    if steps is None and not nearer(latent, apply(quantised, wanted, model, progress), quantised):
        return None
    return wanted


def nearer(latent: Tensor, one: Tensor, other: Tensor) -> bool:
    """Whether one of two is closer to the latent."""
    return float((one - latent).square().mean()) < float((other - latent).square().mean())


def check_model(cleanup: Cleanup | None, model: Model) -> None:
    """Unsupported for clean-up by an autoencoder alone.  §4.5"""
    if cleanup and not hasattr(model, "predict"):
        raise Unsupported("§4.5 clean-up needs a model that predicts; this one is an autoencoder alone")


def calls(cleanup: Cleanup | None, denoiser: tuple[int, int] | None, realism: float | None) -> int:
    """Model calls of `apply` with these arguments, or 1."""
    return _chosen(cleanup, denoiser, realism)[0] if cleanup else 1


def _chosen(cleanup: Cleanup, denoiser: tuple[int, int] | None, realism: float | None) -> tuple[int, float]:
    """(steps, realism).  denoiser, realism: of the decoder's user, instead of the file's; ancestral changes nothing"""
    number, steps = denoiser if denoiser and denoiser[0] in REALISM else cleanup.denoiser
    share = REALISM[number] if realism is None else realism
    return (steps if share else 1), share


def apply(
    quantised: Tensor,
    cleanup: Cleanup | None,
    model: Model,
    progress: Progress,
    denoiser: tuple[int, int] | None = None,
    realism: float | None = None,
) -> Tensor:
    """The latent after clean-up.  progress: begins at step 0, before the model runs"""
    if cleanup is None:
        return quantised
    steps, share = _chosen(cleanup, denoiser, realism)
    sigma = math.exp(-cleanup.level / CLEANUP_LEVEL / 2)
    done = iter(range(steps))

    def counted(y: Tensor, level: float) -> Tensor:
        progress(next(done), steps)
        return model.predict(y, level)

    result = walk.dial(quantised * (cleanup.gain / CLEANUP_GAIN), sigma, steps, share, counted)
    progress(steps, steps)
    return result.cpu()

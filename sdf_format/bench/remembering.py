"""A model's answers, kept: a benchmark asks the same questions again and again."""

from __future__ import annotations

import hashlib
import time

from torch import Tensor

from sdf_format.models import loading


class Remembering:
    """A model that is not asked twice: the walk is the same for the encoder and for every place of the decoder's dial.

    own    the model itself, of which `codec.encode` and `codec.decode` tell it
    saved  seconds that asking again would have taken, since it was last set to 0
    """

    def __init__(self) -> None:
        self.answers: dict[tuple[float, bytes], tuple[Tensor, float]] = {}
        self.saved = 0.0

    def __call__(self, own: loading.Model) -> Remembering:
        self.own = own
        return self

    def __getattr__(self, name: str) -> object:
        return getattr(self.own, name)

    def predict(self, y: Tensor, sigma: float) -> Tensor:
        key = sigma, hashlib.blake2b(y.cpu().numpy().tobytes()).digest()
        if key in self.answers:
            answer, seconds = self.answers[key]
            self.saved += seconds
            return answer
        start = time.perf_counter()
        answer = self.own.predict(y, sigma)
        answer.flatten()[:1].cpu()  # waits for a GPU
        self.answers[key] = answer, time.perf_counter() - start
        return answer

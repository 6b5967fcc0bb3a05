"""Several files decoded together: every file's own walk in a thread of its own, their predictions through the network
at once.

Bits, schedules and displacements are as for a file alone; only a network's rounding knows that it had company (§9).
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from sdf_format import arguments, codec, limits
from sdf_format.container import chunks
from sdf_format.errors import SdfError
from sdf_format.inspect import cost
from sdf_format.models.loading import Model
from sdf_format.progress import Progress, no_progress

if TYPE_CHECKING:
    from torch import Tensor

AT_ONCE = 8
Decoded = tuple[np.ndarray, "np.ndarray | None"]


@dataclass
class Request:
    """What a walk wants to know, and the answer or the error as soon as it is there.  order: of the seat"""

    order: int
    model: Model
    y: Tensor
    sigma: float
    answer: Tensor | None = None
    error: BaseException | None = None


class BatchedPredictor:
    """Walks submit their requests and wait; when each has submitted one, all are answered.

    Who takes part in a round follows from the files alone, not from how fast threads are: the same files give the same
    pixels.
    """

    def __init__(self, seats: int):
        self.participants = seats
        self.waiting: list[Request] = []
        self.turn = threading.Condition()
        # held by whoever runs an autoencoder: one picture's activations at a time
        self.exclusive = threading.Lock()
        self.over: BaseException | None = None

    def submit(self, order: int, model: Model, y: Tensor, sigma: float) -> Tensor:
        """The model's prediction, together with those that the others wait for."""
        request = Request(order, model, y, sigma)
        with self.turn:
            self.waiting.append(request)
            self._answer_if_all_have_submitted()
            while request.answer is None and request.error is None:
                self.turn.wait()
        if request.error is not None:
            raise request.error
        assert request.answer is not None
        return request.answer

    def leave(self) -> None:
        """A seat that has no more files."""
        with self.turn:
            self.participants -= 1
            self._answer_if_all_have_submitted()

    def end(self, reason: BaseException) -> None:
        """Whoever submits from now on gets this error."""
        self.over = reason

    def _answer_if_all_have_submitted(self) -> None:
        if len(self.waiting) < self.participants:
            return
        groups = defaultdict(list)
        for request in sorted(self.waiting, key=lambda q: q.order):
            groups[getattr(request.model, "together", request.model.predict)].append(request)
        self.waiting = []
        for group in groups.values():
            self._answer(group)
        self.turn.notify_all()

    def _answer(self, group: list[Request]) -> None:
        try:
            if self.over is not None:
                raise self.over
            if hasattr(group[0].model, "together"):
                answers = group[0].model.together([(q.model, q.y, q.sigma) for q in group])
                for request, answer in zip(group, answers, strict=True):
                    request.answer = answer
            else:
                for request in group:
                    request.answer = request.model.predict(request.y, request.sigma)
        except BaseException as error:  # threads that wait must hear of it, whatever it is
            if len(group) == 1 or self.over is not None:
                for request in group:
                    request.error = error
            else:  # whose request was it? The others are none the worse for it
                for request in group:
                    self._answer([request])


class Shared:
    """A model whose predictions come from a batched predictor."""

    def __init__(self, model: Model, predictor: BatchedPredictor, order: int):
        self.model, self.predictor, self.order = model, predictor, order
        self.latent_device = getattr(model, "latent_device", None)
        self.path = getattr(model, "path", None)
        if hasattr(model, "predict"):  # an autoencoder alone has none, and must not seem to
            self.predict = lambda y, sigma: predictor.submit(order, model, y, sigma)
        if hasattr(model, "conditioned"):
            self.conditioned = lambda prompt, guidance: Shared(model.conditioned(prompt, guidance), predictor, order)

    def encode(self, pixels: np.ndarray) -> Tensor:
        return self.model.encode(pixels)

    def decode(self, latent: Tensor) -> np.ndarray:
        with self.predictor.exclusive:
            return self.model.decode(latent)


def decode_many(
    streams: Sequence[BinaryIO],
    *,
    at_once: int = AT_ONCE,
    progress: Progress = no_progress,
    **options: Any,
) -> list[Decoded | SdfError]:
    """`codec.decode` of several files: pixels and alpha of each, or the error that it gave, in the streams' order.

    at_once   files that are in the works at a time: so many inputs go through the network together, fewer if the
              device's memory is short
    progress  called with (files done, files); an exception from it ends everything
    options   of `codec.decode`; files that are in the works together share the memory
    """
    at_once = arguments.whole("at_once", at_once, 1)
    arguments.callback("progress", progress)
    own = {name: options.pop(name, None) for name in limits.VARIABLES}
    allowed = limits.resolved(**own, free=lambda: codec.free_memory(options.get("device")))
    results: list[Decoded | SdfError | None] = [None] * len(streams)
    order = sorted(range(len(streams)), key=lambda i: _alike(streams[i]))
    seats = participants(streams, at_once, allowed.memory)
    options |= dict(
        most_pixels=allowed.pixels,
        most_work=allowed.work,
        most_memory=allowed.memory,
        most_seconds=allowed.seconds * seats,
    )
    predictor = BatchedPredictor(seats)
    lock = threading.Lock()
    done = 0

    def work(seat: int) -> None:
        nonlocal done
        try:
            for i in order[seat::seats]:
                try:
                    results[i] = codec.decode(
                        streams[i], wrap_model=lambda model: Shared(model, predictor, seat), **options
                    )
                except SdfError as error:
                    results[i] = error
                with lock:
                    done += 1
                    progress(done, len(streams))
        except BaseException as error:
            predictor.end(error)
            raise
        finally:
            predictor.leave()

    with ThreadPoolExecutor(seats) as pool:
        tasks = [pool.submit(work, seat) for seat in range(seats)]
        try:
            for task in tasks:
                task.result()
        except BaseException as error:
            predictor.end(error)
            raise
    return results  # type: ignore[return-value]


def participants(streams: Sequence[BinaryIO], at_once: int, memory: float) -> int:
    """How many of the files may be in the works at a time, whichever they are: at most `at_once`, together within
    `memory` [byte] by the estimates of their headers, and at least one.
    """
    needed = sorted(map(_needed, streams), reverse=True)[: max(1, at_once)]
    return max([1, *(n for n in range(1, len(needed) + 1) if sum(needed[:n]) <= memory)])


def _needed(stream: BinaryIO) -> int:
    """Bytes; of a file that is none 0."""
    try:
        return cost.memory(chunks.scan(stream).header)
    except SdfError:
        return 0


def _alike(stream: BinaryIO) -> tuple[object, ...]:
    """A key that puts files of one model and one size next to each other.

    A file that is none sorts somewhere; decode says what is wrong.
    """
    try:
        header = chunks.scan(stream).header
        return header.model, header.weights, header.width, header.height
    except SdfError:
        return 0, b"", 0, 0

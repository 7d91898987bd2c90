"""A TensorFlow Lite model on LiteRT, run on one core and safe from several threads.

An interpreter holds its tensors, so each thread gets one of its own; the model's bytes are shared.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facekit.compat.litert import without_notice
from facekit.errors import InvalidSpecError, first_line


class TfliteModel:
    """A model file with one input.

    Args:
        path: The ``.tflite`` file.
        input_shape: What its input must be.
        output_sizes: How many numbers each output has, in the order in which ``run`` returns them.

    Raises:
        InvalidSpecError: The file is missing or cannot be read, or is a model of other inputs or outputs.
    """

    def __init__(self, path: Path, input_shape: Sequence[int], output_sizes: Sequence[int]) -> None:
        self.path = path
        self.input_shape = tuple(input_shape)
        self.output_sizes = tuple(output_sizes)
        try:
            self._content = path.read_bytes()
        except OSError as error:
            raise InvalidSpecError(f"the model file '{path}' cannot be read: {error.strerror or error}") from error
        self._local = threading.local()
        self._interpreter()

    def run(self, values: np.ndarray) -> list[np.ndarray]:
        """Return the outputs for one input of ``input_shape``, float32."""
        interpreter, given, outputs = self._interpreter()
        interpreter.set_tensor(given, np.ascontiguousarray(values, dtype=np.float32))
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in outputs]

    def _interpreter(self) -> tuple[Any, int, list[int]]:
        if not hasattr(self._local, "loaded"):
            self._local.loaded = self._load()
        return self._local.loaded

    def _load(self) -> tuple[Any, int, list[int]]:
        from ai_edge_litert.interpreter import Interpreter

        try:
            with without_notice():
                interpreter = Interpreter(model_content=self._content, num_threads=1)
                interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise InvalidSpecError(f"'{self.path}' is no TensorFlow Lite model: {first_line(error)}") from error
        given = interpreter.get_input_details()
        by_size = {int(np.prod(each["shape"])): each["index"] for each in interpreter.get_output_details()}
        shapes = [tuple(int(side) for side in each["shape"]) for each in given]
        if shapes != [self.input_shape] or set(by_size) != set(self.output_sizes):
            raise InvalidSpecError(
                f"'{self.path}' is another model: it takes {shapes} and gives {sorted(by_size)} numbers, "
                f"not {[self.input_shape]} and {sorted(self.output_sizes)}"
            )
        return interpreter, given[0]["index"], [by_size[size] for size in self.output_sizes]

"""A pretrained network in an ONNX file, run by onnxruntime: a judge only, since no gradient passes through it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from pix2pix_lightning.networks.features.feature_network import FeatureNetwork, Features
from pix2pix_lightning.networks.features.input_values import InputValues
from pix2pix_lightning.utils.checks import check_choice
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.onnx_graph import OnnxGraph, can_run_onnx

__all__ = ["OnnxFeatures"]

_TRIAL_SIDE = 256  # pixels of the image that a graph of no fixed size is tried with


class OnnxFeatures(FeatureNetwork):
    """A graph whose outputs of four dimensions are layers, and whose output of two dimensions is the embedding.

    An output (B, D, 1, 1) is an embedding too. Where there is none, the embedding is the mean over the positions of
    the last layer. A graph of one fixed image size gets images of that size, one of single images gets them singly.

    Args:
        path: The file, with its weights inside.
        values: What the graph takes, (B, 3, H, W).
        embedding: Name of the output that is the embedding, where there are several.
        device: Device to run on, if onnxruntime can run there, else the CPU.

    Raises:
        UserError: The file cannot be read, is another kind of network, or onnxruntime is missing.
    """

    is_differentiable = False

    def __init__(
        self,
        path: Path | str,
        values: InputValues | None = None,
        embedding: str | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        self._name = f"features={path}"
        kind = torch.device(device).type
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise UserError(f"{self._name} cannot be read: {error.strerror}") from None
        self._graph = OnnxGraph(
            content,
            self._name,
            device_type=kind if can_run_onnx(kind) else "cpu",
            num_threads=torch.get_num_threads(),
        )
        self._values = self._fit_input(values or InputValues())
        for output in self._graph.outputs:
            if output.type != "tensor(float)":
                raise UserError(f"{self._name}: its output {output.name} is {output.type}; tensor(float) is expected")
        height, width = self._values.get_size() or (_TRIAL_SIDE, _TRIAL_SIDE)
        trial = self._run(torch.zeros(1, 3, height, width))
        vectors = [name for name, found in trial.items() if found.ndim == 2 or found.shape[2:] == (1, 1)]
        self._layers = [name for name in trial if name not in vectors]
        self.layer_channels = [trial[name].shape[1] for name in self._layers]
        self._embedding = self._choose_embedding(embedding, vectors)

    def compute_layers(self, images: Tensor) -> list[Tensor]:
        """Return the outputs of four dimensions, in the order of the file.

        Args:
            images: (B, 3, H, W) in [-1, 1].

        Returns:
            (B, C_i, h_i, w_i).
        """
        outputs = self._run(images)
        return [outputs[name] for name in self._layers]

    def forward(self, images: Tensor) -> Features:
        """Return layers and embedding of images (B, 3, H, W) in [-1, 1]."""
        outputs = self._run(images)
        layers = [outputs[name] for name in self._layers]
        if self._embedding is None:
            return Features(layers, layers[-1].mean((2, 3)))
        return Features(layers, outputs[self._embedding].flatten(1))

    def _run(self, images: Tensor) -> dict[str, Tensor]:
        """Return all outputs by name."""
        values = self._values.convert(images.detach().float()).cpu()
        parts = torch.split(values, 1) if self._graph.inputs[0].shape[0] == 1 else [values]
        fix = "set features.size to the size that it takes" if self._values.size is None else ""
        runs = [self._graph.run(part.numpy(), fix=fix) for part in parts]
        outputs = {}
        for output, *arrays in zip(self._graph.outputs, *runs, strict=True):
            found = torch.cat([torch.from_numpy(array) for array in arrays])
            if found.ndim not in (2, 4) or len(found) != len(images):
                raise UserError(
                    f"{self._name}: its output {output.name} has the shape {list(found.shape)}; export it with outputs "
                    "(B, C, H, W), which are layers, and (B, D), which is the embedding"
                )
            outputs[output.name] = found.to(images.device, images.dtype)
        return outputs

    def _choose_embedding(self, given: str | None, vectors: list[str]) -> str | None:
        """Return the name of the output that is the embedding; None for the mean of the last layer."""
        if given is not None:
            check_choice("features.embedding", given, vectors)
        elif len(vectors) > 1:
            raise UserError(
                f"{self._name} has {len(vectors)} outputs of one vector for each image: set features.embedding to one "
                f"of {', '.join(vectors)}"
            )
        return given or next(iter(vectors), None)

    def _fit_input(self, values: InputValues) -> InputValues:
        """Check that the graph takes images, and return the values with the size that it is fixed to."""
        inputs = self._graph.inputs
        shape = list(inputs[0].shape)
        is_fixed_batch = len(shape) == 4 and isinstance(shape[0], int) and shape[0] != 1
        if (
            len(inputs) != 1
            or inputs[0].type not in ("tensor(float)", "tensor(uint8)")
            or len(shape) != 4
            or (isinstance(shape[1], int) and shape[1] != 3)
            or is_fixed_batch
        ):
            taken = ", ".join(f"{one.type} {list(one.shape)}" for one in inputs)
            raise UserError(f"{self._name} takes {taken}: one tensor(float) [N, 3, H, W] is expected")
        takes_uint8 = inputs[0].type == "tensor(uint8)"
        if takes_uint8 != (values.range == "uint8"):
            raise UserError(
                f"{self._name} takes {inputs[0].type}: "
                + ("set features.range=uint8" if takes_uint8 else "set features.range to two numbers, such as [0, 1]")
            )
        if not all(isinstance(side, int) for side in shape[2:]):
            return values
        if values.get_size() not in (None, (shape[2], shape[3])):
            raise UserError(f"features.size={values.size}: {self._name} takes {shape[2:]} alone; leave size out")
        return replace(values, size=shape[2:])

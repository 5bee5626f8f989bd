"""Follow a network's forward pass and list its layers as operations on rows."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Lock, get_ident
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from pix2pix_lightning.compat import has_hooks
from pix2pix_lightning.inference.layerwise.convolutions import Convolution, TransposedConvolution
from pix2pix_lightning.inference.layerwise.operations import (
    Enlargement,
    ImageNorm,
    NoisyDropout,
    Operation,
    Padding,
    Pointwise,
    Pooling,
)
from pix2pix_lightning.networks import NoisePlanes, find_image_norms
from pix2pix_lightning.networks.concatenation import cat_dense_grad, cat_relu
from pix2pix_lightning.networks.eval_mode import NORMS, draw_noise_mask
from pix2pix_lightning.networks.fast_convolutions.layers import FastConv2d, FastConvTranspose2d
from pix2pix_lightning.networks.layers import Dropout, ResizeConv2d, check_sides, double_kernel


@dataclass(frozen=True)
class Layer:
    """A step of a network's forward pass.

    Attributes:
        operation: What it does; None for the first layer, which is the image itself.
        inputs: Numbers of the layers whose output it takes.
    """

    operation: Operation | None
    inputs: tuple[int, ...]


class NotTraceableError(Exception):
    """A network does something that is not known as an operation on rows."""


@dataclass(frozen=True)
class Mode:
    """How a network runs at test time.

    Attributes:
        norm: ``image`` or ``running``, as in `networks.use_eval_mode`.
        dropout: Whether noise is on.
        seed: Seed of the noise.
        sample: Number of the noise.
    """

    norm: str
    dropout: bool
    seed: int = 0
    sample: int = 0


def trace_layers(network: nn.Module, mode: Mode) -> list[Layer]:
    """List the layers of a network in the order of execution.

    Args:
        network: Network in `networks.use_eval_mode`, (B, C, H, W) to (B, C', H', W').
        mode: The same mode.

    Returns:
        The layers; the first is the image, the last returns the output.

    Raises:
        NotTraceableError: The forward pass depends on values or sizes, or has a layer that is not known.
    """
    if has_hooks(network):
        raise NotTraceableError("it has hooks, which only a call of a layer runs")
    try:
        with _TRACING:
            graph = _Tracer(autowrap_functions=(cat_dense_grad, cat_relu, check_sides)).trace(network)
        convert = _Converter(network, mode)
        for node in graph.nodes:
            if node.op == "output":
                return convert.finish(node.args[0])
            convert.add(node)
    except NotTraceableError:
        raise
    except Exception as error:  # whatever a forward raises when it is given a stand-in for a tensor
        raise NotTraceableError(str(error)) from error
    raise NotTraceableError("no output")


_TRACING = Lock()
"""A trace changes how modules are called, in all threads, and two at once would not undo that."""


class _Tracer(fx.Tracer):
    """Tracer that does not look into layers that have an operation, nor at what other threads call."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._thread = get_ident()

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Record a call of a module."""
        if get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """Record a look at a module's attribute."""
        if get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return whether a module is one layer."""
        return _get_type(m) in _MODULES or super().is_leaf_module(m, module_qualified_name)


class _Converter:
    def __init__(self, network: nn.Module, mode: Mode) -> None:
        self.network, self.mode = network, mode
        self.image_norms = set(find_image_norms(network, mode.norm))
        self.layers: list[Layer] = []
        self.numbers: dict[fx.Node, int] = {}  # of the layer whose output a node is

    def add(self, node: fx.Node) -> None:
        """Append the layer of a node.

        Raises:
            NotTraceableError: It is not known, even if the output does not use it: it may write into its input.
        """
        if node.target is check_sides:
            return
        if node.op == "placeholder":
            if self.layers:
                raise NotTraceableError(f"a second input, {node.name}")
            self._append(node, Layer(None, ()))
            return
        inputs = node.all_input_nodes
        operation = self._convert(node)
        if operation is None or not inputs or "out" in node.kwargs:
            raise NotTraceableError(f"{node.op} {node.target} is not known")
        self._append(node, Layer(operation, tuple(self.numbers[input] for input in inputs)))
        if _is_in_place(node, self.network):
            # whoever reads the input from here on reads what was written into it
            number = self.numbers[inputs[0]]
            for other, value in self.numbers.items():
                if value == number:
                    self.numbers[other] = len(self.layers) - 1

    def finish(self, output: Any) -> list[Layer]:
        """Return the layers that the output depends on."""
        if not isinstance(output, fx.Node) or output not in self.numbers:
            raise NotTraceableError("the output is not one tensor")
        needed, wanted = set(), [self.numbers[output]]
        while wanted:
            number = wanted.pop()
            if number not in needed:
                needed.add(number)
                wanted += self.layers[number].inputs
        order = sorted(needed | {0})
        renumbered = {old: new for new, old in enumerate(order)}
        layers = [self.layers[number] for number in order]
        return [Layer(layer.operation, tuple(renumbered[input] for input in layer.inputs)) for layer in layers]

    def _append(self, node: fx.Node, layer: Layer) -> None:
        self.numbers[node] = len(self.layers)
        self.layers.append(layer)

    def _convert(self, node: fx.Node) -> Operation | None:
        if node.op == "call_module":
            name = str(node.target)
            module = self.network.get_submodule(name)
            if len(node.args) != 1 or node.kwargs:
                return None
            if isinstance(module, NORMS) and name in self.image_norms:
                return ImageNorm(module)
            if isinstance(module, nn.Dropout | nn.Dropout2d) and self.mode.dropout and module.p > 0:
                draw = partial(draw_noise_mask, self.network, name, seed=self.mode.seed, sample=self.mode.sample)
                return NoisyDropout(module.p, draw)
            build = _MODULES.get(_get_type(module))
            return None if build is None else build(module)
        if node.op == "call_function":
            return _convert_function(node)
        if node.op == "call_method" and node.target in _METHODS:
            return Pointwise(_bind(_call_method(str(node.target)), node.args, node.kwargs, node.all_input_nodes))
        return None


def _get_type(module: nn.Module) -> type[nn.Module]:
    found: type[nn.Module] = parametrize.type_before_parametrizations(module)
    return found


def _is_in_place(node: fx.Node, network: nn.Module) -> bool:
    if node.op == "call_module":
        return bool(getattr(network.get_submodule(str(node.target)), "inplace", False))
    return bool(node.kwargs.get("inplace"))


def _convert_function(node: fx.Node) -> Operation | None:
    kwargs = {key: value for key, value in node.kwargs.items() if key != "inplace"}
    bind = partial(_bind, args=node.args, kwargs=kwargs, inputs=node.all_input_nodes)
    if node.target in _POINTWISE:
        return Pointwise(bind(node.target))
    if node.target in (cat_dense_grad, cat_relu):
        return Pointwise(bind(node.target))
    if node.target is torch.cat:
        dim = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0)
        return Pointwise(bind(node.target)) if dim in (1, -3) else None
    if node.target is F.interpolate:
        options: dict[str, Any] = dict(zip(("input", "size", "scale_factor", "mode"), node.args, strict=False))
        return _build_upsampling(**{**options, **node.kwargs})
    return None


def _bind(
    function: Callable[..., Any], args: Any, kwargs: Mapping[str, Any], inputs: Sequence[fx.Node]
) -> Callable[..., Tensor]:
    """Return a function of the inputs alone."""

    def call(*maps: Tensor) -> Tensor:
        values = dict(zip(inputs, maps, strict=True))
        given, options = fx.node.map_arg((args, dict(kwargs)), values.__getitem__)
        output: Tensor = function(*given, **options)
        return output

    return call


def _call_method(name: str) -> Callable[..., Any]:
    return lambda tensor, *args, **kwargs: getattr(tensor, name)(*args, **kwargs)


def _build_convolution(module: nn.Conv2d) -> Operation | None:
    return Convolution(module) if module.padding_mode == "zeros" and not isinstance(module.padding, str) else None


def _build_transposed(module: nn.ConvTranspose2d) -> Operation | None:
    if module.kernel_size[0] < module.stride[0] or module.output_padding[0] > int(module.padding[0]):
        return None  # some rows depend on nothing
    return TransposedConvolution(
        module,
        module.weight,
        stride=module.stride,
        padding=tuple(map(int, module.padding)),
        output_padding=module.output_padding,
    )


def _build_resize_convolution(module: ResizeConv2d) -> Operation:
    kernel = double_kernel(module.weight)
    return TransposedConvolution(module, kernel, stride=(2, 2), padding=(1, 1), output_padding=(0, 0))


def _build_padding(mode: str, module: Any) -> Operation:
    return Padding(*module.padding, mode=mode, value=getattr(module, "value", 0.0))


def _build_pooling(module: Any) -> Operation | None:
    kernel, stride, padding = (_to_pair(value) for value in (module.kernel_size, module.stride, module.padding))
    if padding != (0, 0) or module.ceil_mode or _to_pair(getattr(module, "dilation", 1)) != (1, 1):
        return None
    return Pooling(module.forward, kernel, stride)


def _to_pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def _build_upsample(module: nn.Upsample) -> Operation | None:
    return _build_upsampling(
        size=module.size, scale_factor=module.scale_factor, mode=module.mode, align_corners=module.align_corners
    )


def _build_upsampling(
    input: object = None,
    size: object = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    **others: object,
) -> Operation | None:
    factors = set(scale_factor) if isinstance(scale_factor, tuple) else {scale_factor}
    if size is not None or align_corners or len(factors) > 1 or mode not in ("nearest", "bilinear"):
        return None
    factor = factors.pop()
    if any(others.values()) or factor is None or factor != int(factor) or factor < 1:
        return None
    enlarge = partial(F.interpolate, scale_factor=float(factor), mode=mode, align_corners=align_corners)
    return Enlargement(enlarge, int(factor), margin=1 if mode == "bilinear" else 0)


def _build_pixel_shuffle(module: nn.PixelShuffle) -> Operation:
    return Enlargement(module.forward, module.upscale_factor, margin=0)


def _build_pointwise(module: nn.Module) -> Operation:
    if not hasattr(module, "inplace"):
        return Pointwise(module.forward)
    variants = copy.copy(module), copy.copy(module)
    for variant, inplace in zip(variants, (False, True), strict=True):
        variant.inplace = inplace  # type: ignore[assignment]
    return Pointwise(variants[0].forward, variants[1].forward)


def _build_tanh(module: nn.Tanh) -> Operation:
    return Pointwise(torch.tanh, torch.tanh_)


_MODULES: Mapping[type[nn.Module], Callable[[Any], Operation | None]] = {
    **dict.fromkeys((nn.Conv2d, FastConv2d), _build_convolution),
    **dict.fromkeys((nn.ConvTranspose2d, FastConvTranspose2d), _build_transposed),
    ResizeConv2d: _build_resize_convolution,
    **dict.fromkeys((*NORMS, nn.Dropout, nn.Dropout2d, Dropout, NoisePlanes, nn.Identity), _build_pointwise),
    **dict.fromkeys((nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.ReLU6), _build_pointwise),
    **dict.fromkeys((nn.Softplus, nn.Sigmoid, nn.Hardtanh, nn.Hardswish), _build_pointwise),
    nn.Tanh: _build_tanh,
    nn.ReflectionPad2d: partial(_build_padding, "reflect"),
    nn.ReplicationPad2d: partial(_build_padding, "replicate"),
    **dict.fromkeys((nn.ZeroPad2d, nn.ConstantPad2d), partial(_build_padding, "constant")),
    **dict.fromkeys((nn.AvgPool2d, nn.MaxPool2d), _build_pooling),
    **dict.fromkeys((nn.Upsample, nn.UpsamplingNearest2d), _build_upsample),
    nn.PixelShuffle: _build_pixel_shuffle,
}
"""Layers that are one operation, by their exact type: a subclass may do something else."""

_POINTWISE = {
    *(operator.add, operator.sub, operator.mul, operator.truediv, operator.neg),
    *(torch.add, torch.sub, torch.mul, torch.relu, torch.tanh, torch.sigmoid, torch.clamp, torch.abs),
    *(F.relu, F.leaky_relu, F.elu, F.gelu, F.silu, F.softplus, F.tanh, F.sigmoid, F.hardtanh),
}
_METHODS = {"add", "sub", "mul", "relu", "tanh", "sigmoid", "clamp", "abs"}

"""The graphs of several models as one ONNX file, since exporting takes seconds."""

from contextlib import ExitStack

import torch
from torch import nn

from pix2pix_lightning.export import onnx_file


class Graphs(nn.Module):
    """Several graphs, each with a source and an output of its own."""

    def __init__(self, graphs):
        super().__init__()
        self.graphs = nn.ModuleList(graphs)

    def forward(self, *sources):
        return tuple(graph(source) for graph, source in zip(self.graphs, sources, strict=True))


def run_graphs(graphs, sources, path):
    """Export graphs to one file; return what onnxruntime makes of the source of each, arrays (B, C, H, W)."""
    import onnxruntime

    names = [str(number) for number in range(len(sources))]
    with ExitStack() as stack:
        together = Graphs([stack.enter_context(graph.use_eval_module()) for graph in graphs])
        stack.enter_context(onnx_file._silence_exporter())
        tensors = tuple(map(torch.from_numpy, sources))
        torch.onnx.export(together, tensors, path, dynamo=True, input_names=names, external_data=False, verbose=False)
    return onnxruntime.InferenceSession(path).run(None, dict(zip(names, sources, strict=True)))

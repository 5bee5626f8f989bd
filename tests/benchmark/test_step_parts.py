from types import SimpleNamespace

import pytest
import torch
from torch.profiler import ProfilerActivity, profile, record_function

from pix2pix_lightning.benchmark.step_parts import (
    GRADIENTS,
    OTHER,
    WAITING,
    Part,
    format_range,
    merge_intervals,
    sum_parts,
)

A, A_BACK = Part("generator a", "forward"), Part("generator a", "backward")
NODE = "autograd::engine::evaluate_function: "


def event(name, start, end, *, seq=-1, kernels=(), device="CPU", thread=1, annotation=False):
    return SimpleNamespace(
        name=name,
        time_range=SimpleNamespace(start=start, end=end),
        sequence_nr=seq,
        kernels=[SimpleNamespace(duration=duration) for duration in kernels],
        device_type=SimpleNamespace(name=device),
        thread=thread,
        fwd_thread=1 if seq >= 0 else 0,
        is_user_annotation=annotation,
    )


STEP = [  # microseconds; a loss outside of ranges, and another thread
    event(format_range(WAITING), 0, 50),
    event(format_range(A), 100, 200),
    event("aten::convolution", 110, 190, seq=4),  # began before the cast in it has made a node
    event("aten::_to_copy", 110, 120, seq=4),
    event("aten::convolution", 120, 190, seq=5),
    event("aten::l1_loss", 200, 220, seq=6),
    event(f"{NODE}L1LossBackward0", 300, 310, seq=6),
    event(f"{NODE}ConvolutionBackward0", 310, 400, seq=5),
    event("ConvolutionBackward0", 312, 390, seq=5),
    event("aten::convolution_backward", 315, 380),
    event(f"{NODE}ToCopyBackward0", 400, 410, seq=4),
    event(f"{NODE}torch::autograd::AccumulateGrad", 410, 413),
    event("Optimizer.zero_grad#Adam.zero_grad", 420, 424),
    event(f"{NODE}ConvolutionBackward0", 450, 480, seq=5, thread=2),
]


def in_microseconds(parts):
    return {(part.name, part.direction): pytest.approx(1e6 * seconds) for part, seconds in parts.items()}


def test_each_moment_of_a_step_belongs_to_one_part():
    assert in_microseconds(sum_parts(STEP, 500e-6)) == {
        ("waiting for data", ""): 50,
        ("generator a", "forward"): 90,
        ("generator a", "backward"): 90,
        ("casts between types", "forward"): 10,
        ("casts between types", "backward"): 10,
        ("storing gradients", "backward"): 3,
        ("clearing gradients", ""): 4,
        ("other", ""): 500 - 50 - 100 - 90 - 10 - 3 - 4,
    }
    assert GRADIENTS.direction == "backward"


def test_kernels_belong_to_who_launched_them_and_the_gaps_to_who_was_waited_for():
    gpu = {"device": "CUDA"}
    launches = {"aten::convolution_backward": [30, 5], "aten::l1_loss": [2]}
    step = [
        event(one.name, one.time_range.start, one.time_range.end, seq=one.sequence_nr, thread=one.thread)
        for one in STEP
        if one.name not in launches
    ]
    step += [
        event("aten::convolution_backward", 315, 380, kernels=[30, 5]),
        event("aten::l1_loss", 200, 220, seq=6, kernels=[2]),
        event(format_range(A), 330, 400, annotation=True, **gpu),  # a range that torch repeats for the GPU
        event("copy", 40, 60, **gpu),  # half of it while Python waits for data
        event("gemm", 330, 360, **gpu),
        event("gemm", 360, 365, **gpu),
        event("loss", 390, 392, **gpu),
    ]
    parts = in_microseconds(sum_parts(step, 500e-6))
    assert parts["generator a", "backward"] == 35
    assert parts["generator a", "forward"] == 0
    assert parts["waiting for data", ""] == 40  # the rest of it has a kernel
    assert parts["GPU waiting for Python", ""] == 500 - 20 - 35 - 2 - 40
    assert parts["other", ""] == 20 + 2  # the copy, which nobody is known to have launched, and the loss
    assert sum(1e6 * seconds for seconds in sum_parts(step, 500e-6).values()) == pytest.approx(500)


def test_union_of_intervals():
    assert merge_intervals([(5, 6), (1, 2), (2, 3), (1.5, 1.7), (8, 9), (5.5, 7)]) == [(1, 3), (5, 7), (8, 9)]
    assert merge_intervals([]) == []


def test_backward_passes_are_found_among_real_events():
    weight = torch.rand(8, 3, 3, 3, requires_grad=True)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        with torch.autocast("cpu", torch.bfloat16), record_function(format_range(A)):
            output = torch.nn.functional.conv2d(torch.rand(1, 3, 16, 16), weight)
        output.float().sum().backward()
    parts = sum_parts(profiler.events(), 1e3)
    assert parts.keys() == {
        A,
        A_BACK,
        GRADIENTS,
        OTHER,
        Part("casts between types", "forward"),
        Part("casts between types", "backward"),
    }
    assert all(seconds > 0 for seconds in parts.values())

"""Edge detectors against OpenCV, formulas written out here, scikit-image, and a network computed by hand."""

import math
import pickle

import cv2
import numpy as np
import pytest
from skimage.measure import label
from skimage.morphology import thin

from pix2pix_lightning.data.edge_network import HED_MEAN, EdgeNetwork
from pix2pix_lightning.data.edges import Canny, XDoG, build_edge_detector, detect_edges
from pix2pix_lightning.data.line_drawing import find_lines, remove_short_lines, suppress_non_maxima, thin_lines
from pix2pix_lightning.utils.errors import UserError


@pytest.fixture
def photo():
    image = np.full((40, 48, 3), 230, np.uint8)
    cv2.circle(image, (20, 20), 12, (40, 60, 160), -1)
    cv2.rectangle(image, (30, 5), (44, 34), (90, 20, 20), -1)
    return np.clip(image + np.random.default_rng(0).integers(-6, 7, image.shape), 0, 255).astype(np.uint8)


def draw_noise(share, shape=(30, 33), seed=1):
    return np.random.default_rng(seed).random(shape) < share


def test_canny_is_that_of_opencv_without_short_lines(photo):
    found = cv2.Canny(cv2.GaussianBlur(photo, (0, 0), 1.5), 30, 90, L2gradient=True)
    everything = detect_edges(photo, "canny", sigma=1.5, low=30, high=90, min_pixels=0)
    assert everything.shape == (40, 48, 1)
    assert everything.dtype == np.uint8
    assert (everything[..., 0] == 255 - found).all()
    numbers = label(found > 0, connectivity=2)
    sizes = np.bincount(numbers.ravel())
    least = int(sorted(sizes[1:])[-1])
    longest = Canny(sigma=1.5, low=30, high=90, min_pixels=least)(photo)
    assert ((longest[..., 0] == 0) == ((sizes[numbers] >= least) & (numbers > 0))).all()
    assert (detect_edges(photo[..., :1]) == detect_edges(np.repeat(photo[..., :1], 3, 2))).all()


def test_xdog_is_its_formula(photo):
    gray = (photo @ [0.299, 0.587, 0.114]).round() / 255

    def blur(sigma):
        radius = 12
        weights = [math.exp(-(x**2) / (2 * sigma**2)) for x in range(-radius, radius + 1)]
        weights = np.array(weights) / sum(weights)
        padded = np.pad(gray, radius, "reflect")
        rows = np.apply_along_axis(np.convolve, 1, padded, weights, "valid")
        return np.apply_along_axis(np.convolve, 0, rows, weights, "valid")

    difference = blur(1.2) - 0.95 * blur(1.2 * 1.6)
    expected = np.where(difference >= 0.02, 1, 1 + np.tanh(30 * (difference - 0.02)))
    tones = XDoG(sigma=1.2, tau=0.95, epsilon=0.02, phi=30, threshold=None)(photo)[..., 0] / 255
    assert np.abs(tones - expected).max() < 0.02  # the kernel of OpenCV ends sooner
    assert expected.min() < 0.5 < expected.max()
    lines = XDoG(sigma=1.2, tau=0.95, epsilon=0.02, phi=30, threshold=0.5, min_pixels=0)(photo)[..., 0]
    assert ((lines == 0) == thin(tones < 0.5)).all()
    assert 0 < (lines == 0).sum() < (tones < 0.5).sum()


@pytest.mark.parametrize("share", [0.3, 0.6, 0.85])
def test_thinning_is_that_of_scikit_image(share):
    mask = draw_noise(share)
    assert (thin_lines(mask) == thin(mask)).all()


def test_short_lines_are_removed():
    mask = draw_noise(0.25)
    numbers = label(mask, connectivity=2)
    assert (remove_short_lines(mask, 4) == (mask & (np.bincount(numbers.ravel())[numbers] >= 4))).all()


def test_strengths_become_a_line_at_their_ridge():
    rows, columns = np.mgrid[:40, :40]
    strength = np.exp(-(((columns - 0.5 * rows - 10) / 3) ** 2)).astype(np.float32)
    ridge = suppress_non_maxima(strength)
    inner = ridge[8:-8] > 0
    place = np.array([np.flatnonzero(row).mean() for row in inner])
    assert np.abs(place - (0.5 * np.arange(8, 32) + 10)).max() < 1.1
    assert inner.sum(1).max() <= 3
    assert (ridge[0] == 0).all()  # strengths at the border fade
    lines = find_lines(strength, 0.5, 5)
    assert (thin(lines) == lines).all()
    assert 20 <= lines.sum() <= 45
    assert not find_lines(strength, 0.5, 100).any()
    assert not find_lines(np.zeros((1, 5), np.float32), 0.5, 1).any()


@pytest.mark.parametrize(
    ("method", "parameters", "key"),
    [
        ("cany", {}, "method='cany'"),
        ("canny", {"low": 100.0, "high": 50.0}, "canny.high"),
        ("canny", {"sigma": math.nan}, "canny.sigma"),
        ("xdog", {"ratio": 1.0}, "xdog.ratio"),
        ("xdog", {"threshold": 2.0}, "xdog.threshold"),
        ("xdog", {"min_pixels": True}, "xdog.min_pixels"),
        ("onnx", {}, "edges_model"),
        ("onnx", {"model": "x.onnx", "mean": [1.0]}, "onnx.mean"),
        ("onnx", {"model": "x.onnx", "channels": "gbr"}, "onnx.channels"),
    ],
)
def test_wrong_parameters_are_refused_by_their_key(method, parameters, key):
    with pytest.raises(UserError) as error:
        build_edge_detector(method, **parameters)
    assert key in str(error.value)


def write_network(path, *, shape=(1, 3, "h", "w"), gain=0.01, kind="Sigmoid", outputs=("side", "fuse")):
    """A graph with two outputs: the colours' sum, and a sigmoid of ``gain`` times the difference of two columns."""
    import onnx
    from onnx import TensorProto, helper

    weight = np.zeros((1, 3, 1, 3), np.float32)
    weight[0, :, 0, 0], weight[0, :, 0, 2] = [-gain, -2 * gain, -3 * gain], [gain, 2 * gain, 3 * gain]
    nodes = [
        helper.make_node("ReduceSum", ["image", "axis"], ["side"], keepdims=1),
        helper.make_node("Conv", ["image", "weight"], ["logit"], pads=[0, 1, 0, 1]),
        helper.make_node(kind, ["logit"], ["fuse"]),
    ]
    graph = helper.make_graph(
        nodes,
        "edges",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [onnx.numpy_helper.from_array(weight, "weight"), onnx.numpy_helper.from_array(np.array([1]), "axis")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def test_a_network_gets_what_hed_expects(photo, tmp_path):
    path = write_network(tmp_path / "hed.onnx")
    values = photo[..., ::-1].astype(np.float64) - HED_MEAN
    padded = np.pad(values, ((0, 0), (1, 1), (0, 0)), "reflect")  # within the mirrored border
    logit = 0.01 * ((padded[:, 2:] - padded[:, :-2]) @ [1, 2, 3])
    expected = 1 / (1 + np.exp(-logit))
    network = pickle.loads(pickle.dumps(EdgeNetwork(model=path, border=8)))
    assert np.abs(network.compute_strength(photo) - expected).max() < 1e-5
    shades = EdgeNetwork(model=str(path), threshold=None)(photo)
    assert np.abs(shades[..., 0] - 255 * (1 - expected)).max() < 0.51
    lines = EdgeNetwork(model=path, threshold=0.8, min_pixels=3)(photo)
    assert ((lines[..., 0] == 0) == find_lines(expected.astype(np.float32), 0.8, 3)).all()
    logits = write_network(tmp_path / "logits.onnx", kind="Identity")
    scaled = EdgeNetwork(model=logits, channels="rgb", mean=[0.0] * 3, scale=[3.0, 1.0, 1 / 3], sigmoid=True)
    assert np.abs(scaled.compute_strength(photo) - expected).max() < 1e-5


def test_a_network_of_one_size_gets_a_resized_photo(photo, tmp_path):
    path = write_network(tmp_path / "fixed.onnx", shape=(1, 3, 20, 24))
    small = cv2.resize(photo, (24, 20), interpolation=cv2.INTER_AREA).astype(np.float64)[..., ::-1]
    padded = np.pad(small - HED_MEAN, ((0, 0), (1, 1), (0, 0)))
    inner = 1 / (1 + np.exp(-0.01 * ((padded[:, 2:] - padded[:, :-2]) @ [1, 2, 3])))
    strength = EdgeNetwork(model=path).compute_strength(photo)
    assert np.abs(strength - cv2.resize(inner, (48, 40))).max() < 0.02


def test_networks_that_cannot_be_used_are_named(photo, tmp_path):
    (tmp_path / "letter.onnx").write_text("Dear")
    five = write_network(tmp_path / "five.onnx", shape=(1, 5, "h", "w"))
    good, wide = write_network(tmp_path / "a.onnx"), write_network(tmp_path / "b.onnx", kind="Identity")
    for detector, key in (
        (EdgeNetwork(model=tmp_path / "letter.onnx"), "letter.onnx"),
        (EdgeNetwork(model=five), "five.onnx"),
        (EdgeNetwork(model=good, output="fused"), "onnx.output"),
    ):
        with pytest.raises(UserError) as error:
            detector.open()
        assert key in str(error.value)
    with pytest.raises(UserError) as error:
        EdgeNetwork(model=wide)(photo)
    assert "onnx.sigmoid" in str(error.value)
    with pytest.raises(OSError, match="missing"):
        EdgeNetwork(model=tmp_path / "missing.onnx").open()

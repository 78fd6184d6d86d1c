"""What TensorFlow makes of MSI-Net: writes `msinet.npz`, which `test_published_saliency.py` reads.

It is no part of the lock: `pip install tensorflow-cpu==2.21.0` in an environment of its own. The
network is built with TensorFlow 1's operations from the description in `lib.models.msinet`, with
random weights, and frozen as the authors froze theirs: a bare graph as on their Drive, and a
SavedModel whose only function holds the constants, as on the Hugging Face hub.
"""

import csv
import tempfile
import zlib
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
PICTURES = {"shrunk": (250, 500), "enlarged": (75, 101), "tall": (333, 120)}
STEP = 16  # of 240x320 pixels every sixteenth is kept


def official_shapes(divisor=1):
    """Names and shapes of the 46 variables; channels divided for a small network."""
    with (HERE / "msinet_keys.csv").open() as file:
        rows = [(row["key"], map(int, row["shape"].split("x"))) for row in csv.DictReader(file)]
    return {key: tuple(n if n <= 3 else max(1, n // divisor) for n in s) for key, s in rows}


def weights(shapes):
    """Arrays that depend on nothing but names and shapes."""
    arrays = {}
    for key, shape in shapes.items():
        rng = np.random.default_rng(zlib.crc32(key.encode()))
        scale = 0.1 if len(shape) == 1 else np.sqrt(2 / np.prod(shape[:-1]))
        arrays[key] = (rng.standard_normal(shape) * scale).astype(np.float32)
    return arrays


def pattern(height, width):
    """A picture of waves, HxWx3 uint8."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 7 + y / 31), np.cos(x * y / 900), np.sin(y / 5) * np.cos(x / 11)]
    return np.rint(127.5 + 127.5 * np.stack(waves, axis=-1)).astype(np.uint8)


def ramp():
    """A map 240x320 from 0 to 1 that no flip leaves as it is."""
    y, x = np.mgrid[:240, :320]
    return ((2 * y + x) / 797).astype(np.float32)


def network(tf, arrays, x):
    """Maps Bx1xHxW of pictures BxHxWx3, float32 from 0 to 255."""
    v1, resize = tf.compat.v1, tf.compat.v1.image.resize_bilinear

    def conv(x, name, dilation=1, relu=True):
        keys = f"{name}/kernel", f"{name}/bias"
        kernel, bias = (v1.get_variable(k, initializer=arrays[k]) for k in keys)
        x = tf.nn.conv2d(x, kernel, 1, "SAME", dilations=dilation) + bias
        return tf.nn.relu(x) if relu else x

    x = x - tf.constant([103.939, 116.779, 123.68])
    kept, depths = [], {1: 2, 2: 2, 3: 3, 4: 3, 5: 3}
    for block, depth in depths.items():
        for layer in range(1, depth + 1):
            x = conv(x, f"conv{block}/conv{block}_{layer}", 2 if block == 5 else 1)
        stride = 2 if block < 4 else 1
        x = tf.nn.max_pool2d(x, 2, stride, "VALID" if block < 4 else "SAME")
        kept += [x] if block >= 3 else []
    x = tf.concat(kept, axis=3)
    branches = [conv(x, f"aspp/conv1_{i}", d) for i, d in enumerate((1, 4, 8, 12), start=1)]
    scene = conv(tf.reduce_mean(x, axis=(1, 2), keepdims=True), "aspp/conv1_5")
    x = conv(tf.concat([*branches, resize(scene, tf.shape(x)[1:3])], axis=3), "aspp/conv2")
    for i in (1, 2, 3):
        x = conv(resize(x, 2 * tf.shape(x)[1:3]), f"decoder/conv{i}")
    x = conv(x, "decoder/conv4", relu=False)
    x = x - tf.reduce_min(x, axis=(1, 2, 3), keepdims=True)
    return x / (1e-7 + tf.reduce_max(x, axis=(1, 2, 3), keepdims=True))


def freeze(tf, arrays):
    """Build a graph and turn its variables into constants; returns the bytes of a GraphDef."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, (None, None, None, 3), name="input")
        tf.identity(network(tf, arrays, x), name="output")
        session.run(v1.global_variables_initializer())
        convert = v1.graph_util.convert_variables_to_constants
        return convert(session, session.graph_def, ["output"])


def thaw(tf, graph):
    """Wrap a frozen graph as a function of TensorFlow 2."""
    load = lambda: tf.compat.v1.import_graph_def(graph, name="")  # noqa: E731
    wrapped = tf.compat.v1.wrap_function(load, [])
    return wrapped.prune(wrapped.graph.as_graph_element("input:0"), "output:0")


def saved_model(tf, graph):
    """Save as a SavedModel; returns the bytes of its `saved_model.pb`."""
    module, function = tf.Module(), thaw(tf, graph)
    signature = tf.TensorSpec((None, None, None, 3), tf.float32)
    module.serve = tf.function(lambda x: {"output": function(x)}, input_signature=[signature])
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures=module.serve)
        return (Path(folder) / "saved_model.pb").read_bytes()


def resize(tf, image, frame, cover):
    """Resize HxWxC as the authors do: area or bicubic, corners aligned, aspect ratio kept."""
    ratio = (max if cover else min)(frame[0] / image.shape[0], frame[1] / image.shape[1])
    size = [int(np.rint(side * ratio)) for side in image.shape[:2]]
    images, shrinks = tf.compat.v1.image, image.shape[0] > size[0] or image.shape[1] > size[1]
    new = (images.resize_area if shrinks else images.resize_bicubic)(image[None], size, True)
    return np.clip(new[0].numpy(), 0, 255)


def main():
    """Write what TensorFlow gives for random weights and for pictures of three shapes."""
    import tensorflow as tf

    function = thaw(tf, freeze(tf, weights(official_shapes())))
    golden = {"map": function(tf.constant(pattern(48, 64)[None], tf.float32)).numpy()[0, ..., 0]}
    small = freeze(tf, weights(official_shapes(64)))
    files = {"graph": small.SerializeToString(), "saved_model": saved_model(tf, small)}
    golden |= {name: np.frombuffer(content, np.uint8) for name, content in files.items()}
    for name, shape in PICTURES.items():
        new = resize(tf, pattern(*shape), (240, 320), cover=False)
        spare = [(side - n) / 2 for side, n in zip((240, 320), new.shape, strict=False)]
        around = [(int(np.floor(s)), int(np.ceil(s))) for s in spare]
        new = np.pad(new, [*around, (0, 0)], constant_values=126)
        golden[f"{name}_input"] = new[::STEP, ::STEP]
        new = resize(tf, 255 * ramp()[..., None], shape, cover=True)[..., 0] / 255
        top, left = ((n - side) // 2 for n, side in zip(new.shape, shape, strict=True))
        new = new[top : top + shape[0], left : left + shape[1]]
        golden[f"{name}_output"] = new[::STEP, ::STEP].astype(np.float32)
    np.savez_compressed(HERE / "msinet.npz", **golden)


if __name__ == "__main__":
    main()

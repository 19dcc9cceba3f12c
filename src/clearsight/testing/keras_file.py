"""Small .keras files made by hand, as Keras 3 writes them; Keras itself is not needed."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearsight.testing.small_network import CHANNELS, SIZE, SmallNetwork

Arrays = Mapping[str, NDArray[np.float32]]


def layer(kind: str, **config: Any) -> dict[str, Any]:
    """Return the description of one layer."""
    name = config.pop("name", kind.lower())
    return {
        "module": "keras.layers",
        "class_name": kind,
        "config": {"name": name, "trainable": True, "dtype": "float32", **config},
        "registered_name": None,
    }


def convolution(filters: int, size: int, **config: Any) -> dict[str, Any]:
    """Return the description of a Conv2D layer."""
    default = {
        "filters": filters,
        "kernel_size": [size, size],
        "strides": [1, 1],
        "padding": "valid",
        "data_format": "channels_last",
        "dilation_rate": [1, 1],
        "groups": 1,
        "activation": "linear",
        "use_bias": True,
    }
    return layer("Conv2D", **{**default, **config})


def sequential(layers: Sequence[Mapping[str, Any]], shape: Sequence[int]) -> dict[str, Any]:
    """Return the description of a Sequential model for pictures (h, w, c)."""
    entry = layer("InputLayer", batch_shape=[None, *shape], name="input_layer")
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "sequential", "trainable": True, "layers": [entry, *layers]},
        "registered_name": None,
    }


def weights_file(weights: Arrays) -> bytes:
    """Return an HDF5 file with these arrays by path."""
    import h5py

    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for place, array in weights.items():
            file.create_dataset(place, data=array)
    return stream.getvalue()


def keras_bytes(config: Mapping[str, Any], weights: Arrays) -> bytes:
    """Return a .keras file."""
    members: dict[str, str | bytes] = {
        "metadata.json": json.dumps({"keras_version": "3.0.0", "date_saved": "2026-01-01"}),
        "config.json": json.dumps(config),
        "model.weights.h5": weights_file(weights),
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def small_keras(path: Path, network: SmallNetwork | None = None) -> Path:
    """Write a `SmallNetwork` as a Keras model that scales pixels itself; return the path."""
    network = network or SmallNetwork()
    arrays = network.weights
    config = sequential(
        [
            layer("Rescaling", scale=1 / network.scale, offset=-network.mean / network.scale),
            convolution(6, 3, padding="same", activation="relu6"),
            layer("GlobalAveragePooling2D", data_format="channels_last", keepdims=False),
            layer("Dense", units=4, activation="linear", use_bias=False),
        ],
        (SIZE, SIZE, CHANNELS),
    )
    weights = {
        "layers/conv2d/vars/0": arrays["kernel"].transpose(2, 3, 1, 0),
        "layers/conv2d/vars/1": arrays["shift"],
        "layers/dense/vars/0": arrays["matrix"],
    }
    path.write_bytes(keras_bytes(config, weights))
    return path

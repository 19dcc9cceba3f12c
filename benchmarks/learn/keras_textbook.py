"""The textbook Keras network on Fashion-MNIST; run by fashion_mnist.py in Keras's own environment.

Usage: python keras_textbook.py DATA SEED EPOCHS. Prints one JSON line; needs tensorflow-cpu alone.
"""

import time

STARTED = time.time()

import gzip  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

DATA, SEED, EPOCHS = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])


def pictures(name):
    content = gzip.decompress((DATA / f"{name}-images-idx3-ubyte.gz").read_bytes())
    return np.frombuffer(content, np.uint8, offset=16).reshape(-1, 28, 28, 1) / np.float32(255)


def labels(name):
    content = gzip.decompress((DATA / f"{name}-labels-idx1-ubyte.gz").read_bytes())
    return np.frombuffer(content, np.uint8, offset=8)


keras.utils.set_random_seed(SEED)
layers = keras.layers
model = keras.Sequential(
    [
        keras.Input((28, 28, 1)),
        layers.Conv2D(32, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(64, activation="relu"),
        layers.Dense(10),
    ]
)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile("adam", loss, metrics=["accuracy"])
began = time.time()
model.fit(pictures("train"), labels("train"), epochs=EPOCHS, validation_split=0.1, verbose=0)
now = time.time()
accuracy = model.evaluate(pictures("t10k"), labels("t10k"), verbose=0)[1]
print(
    json.dumps(
        {
            "fit_s": now - began,
            "total_s": now - STARTED,
            "accuracy": float(accuracy),
            "versions": {"keras": keras.__version__, "tensorflow": tf.__version__},
        }
    )
)

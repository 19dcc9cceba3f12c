"""Make a recognizer out of a Keras model: checked, calibrated, ready to serve. Needs no Keras.

    python examples/04_import_a_keras_model.py model.keras classes.txt digits runs/imported

The model is what `model.save("model.keras")` wrote, for example the textbook network:

    keras.Sequential([
        keras.Input((28, 28, 1)),
        layers.Conv2D(32, 3, activation="relu"), layers.MaxPooling2D(),
        layers.Conv2D(64, 3, activation="relu"), layers.MaxPooling2D(),
        layers.Flatten(), layers.Dense(64, activation="relu"), layers.Dense(10),
    ])

It was trained on pixels divided by 255, which its file does not say, so `range` must.
"""

import sys

import clearsight
from clearsight import api

model, classes, data, out = sys.argv[1:5]

found = api.import_model(model, classes=classes, out=out, preprocess=["range=0-1"], data=data)

parity = found.parity
print(f"Same answers as the original on {parity.n} pictures, off by {parity.max_difference:.1e}")

figures = found.bundle.manifest.metrics
low, high = figures["accuracy_ci"]
print(f"Accuracy {figures['accuracy']:.3f} ({low:.3f} to {high:.3f}, {figures['n']} pictures)")

recognizer = clearsight.load(out)  # from here on it is a recognizer like any other
print("Classes:", ", ".join(recognizer.classes))

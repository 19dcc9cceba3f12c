"""Train a recognizer from a folder of pictures and ask it about one.

python examples/00_write_digits.py digits
python examples/01_train_and_predict.py digits runs/digits digits/3/0003.png
"""

import sys

import clearsight

photos, run, picture = sys.argv[1:4]
time = sys.argv[4] if len(sys.argv) > 4 else "60s"

recognizer = clearsight.train(photos, out=run, time=time)
prediction = recognizer.predict(picture, top=3)

print(f"Trained {recognizer.manifest.family} on {len(recognizer.classes)} classes")
for label, score in zip(prediction.labels, prediction.scores, strict=True):
    print(f"{label}  {score:.3f}")

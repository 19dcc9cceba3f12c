"""Write scikit-learn's 1,797 scanned handwritten digits as PNG files, one folder a digit.

    python examples/00_write_digits.py digits

A data set to play with that needs no download: digits/0/0000.png, digits/1/0001.png, ...
"""

import sys
from pathlib import Path

import cv2
import numpy as np
from sklearn.datasets import load_digits

folder = Path(sys.argv[1])
digits = load_digits()
for index, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
    grey = (pixels * 255 / 16).astype(np.uint8)  # 8 x 8 pixels, 0 to 16
    file = folder / str(label) / f"{index:04d}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), cv2.resize(grey, (32, 32), interpolation=cv2.INTER_CUBIC))
print(f"Wrote {len(digits.images)} pictures into {folder}")

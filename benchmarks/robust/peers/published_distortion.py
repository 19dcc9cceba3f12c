"""Distortion of every picture by each published corruption, by `imagecorruptions` itself.

Run by published_corruptions.py with the Python of an environment of its own (see there):
published_distortion.py PICTURES.npy RESULT.json
"""

import json
import sys

import numpy as np
from imagecorruptions import corrupt, get_corruption_names


def main():
    images = np.load(sys.argv[1], allow_pickle=False)
    found = {}
    for name in get_corruption_names("all"):
        found[name] = []
        for severity in range(1, 6):
            np.random.seed(severity)
            changed = [corrupt(image, severity, name).astype(int) for image in images]
            pairs = zip(changed, images, strict=True)
            found[name].append([float(np.abs(one - image).mean()) for one, image in pairs])
    with open(sys.argv[2], "w") as stream:
        json.dump(found, stream)


if __name__ == "__main__":
    main()

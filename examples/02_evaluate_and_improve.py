"""Score a recognizer on the pictures that training never saw, and say what to look at first.

python examples/02_evaluate_and_improve.py runs/digits
"""

import sys

import clearsight

evaluation = clearsight.load(sys.argv[1]).evaluate().to_json()

low, high = evaluation["accuracy_ci"]
print(f"Accuracy {evaluation['accuracy']:.3f} ({low:.3f}-{high:.3f}), n {evaluation['n']}")

worst = min(evaluation["per_class"].items(), key=lambda item: item[1]["recall"] or 0.0)
print(f"Worst class: {worst[0]!r}, recall {worst[1]['recall']:.3f} on {worst[1]['n']} pictures")

for mistake in evaluation["mistakes"][:3]:
    print(f"Look at {mistake['name']}: {mistake['truth']} taken for {mistake['predicted']}")

"""What the two forms of the Open Inference Protocol share: tensors, requests, answers, metadata."""

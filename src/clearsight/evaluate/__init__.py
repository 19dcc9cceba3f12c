"""Metrics, calibration and the report; scores a data set with a Predictor."""

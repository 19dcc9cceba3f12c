"""Measures a service under load: a closed loop of clients that wait, or an open loop."""

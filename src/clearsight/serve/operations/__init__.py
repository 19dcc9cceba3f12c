"""What an operator sees of a running service: drift, corrections, traces, live figures."""

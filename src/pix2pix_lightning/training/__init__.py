"""A training run: what it is built from, its folder, its processes, its speed, callbacks and loggers."""

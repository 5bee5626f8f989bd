"""A training run: how it is built, its folder, processes, performance, callbacks, loggers and schedules."""

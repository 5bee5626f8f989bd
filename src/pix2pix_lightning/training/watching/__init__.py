"""Measure a training, and tell what is wrong with it, for the callbacks that watch it."""

"""Checkpoints as data: finding, reading, writing and restoring them, in this project's form and in others."""

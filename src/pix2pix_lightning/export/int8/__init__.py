"""Quantize exported generators to 8-bit integers, calibrated on images."""

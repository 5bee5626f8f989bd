"""Formats of image files: their headers, and pixels that OpenCV and Pillow decode to other values."""

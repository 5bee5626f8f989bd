"""Read image files, and what their headers say."""

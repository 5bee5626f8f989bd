"""The page to draw on: brushes, a canvas, the models behind it, and the server."""

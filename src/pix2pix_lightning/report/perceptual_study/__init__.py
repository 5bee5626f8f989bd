"""The perceptual study of the paper: pages on which people say what is generated, and the table of their answers."""

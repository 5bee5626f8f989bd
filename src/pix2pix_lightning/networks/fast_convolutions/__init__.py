"""Convolutions that are computed faster on a CPU: by matrix products, and by Winograd's minimal filtering."""

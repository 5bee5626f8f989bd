"""The command ``benchmark``: the speed of this package next to that of plain PyTorch code."""

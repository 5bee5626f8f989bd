"""Find, read, write and restore checkpoints, in the format of this project and in others."""

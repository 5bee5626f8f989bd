"""Draw facades and their label maps."""

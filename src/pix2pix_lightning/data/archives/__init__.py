"""Data sets that are downloaded: facts about their archives, the transfer, and unpacking."""

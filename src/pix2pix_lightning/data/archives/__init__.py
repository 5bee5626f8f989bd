"""Download data sets: what is known of their archives, the transfer, and unpacking."""

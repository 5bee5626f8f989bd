"""Parts that know nothing of images or models: files, locks, threads, seeds, devices, building by name."""

"""Look at the files of a data set before a training."""

"""Find out how pairs lie: in folders, strips, by the names of files, or in the rows of a manifest or a table."""

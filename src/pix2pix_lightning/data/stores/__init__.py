"""Files that lie in an archive, a database or the rows of a table."""

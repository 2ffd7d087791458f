"""Model files of unknown origin, read in a process that can do nothing but read them."""

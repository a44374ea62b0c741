"""Nets of other packages: their weight files, and the workdirs that hold them."""

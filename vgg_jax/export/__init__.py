"""Trained nets as files that other packages load. `exporting.writer` is the entry point."""

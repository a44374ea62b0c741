"""The formats of weight files, one per file. Each recognises a file by its contents."""

"""The file formats of exported nets, one per file, each of which ends with FORMAT."""

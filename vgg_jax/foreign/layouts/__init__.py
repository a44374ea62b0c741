"""The names and layouts that packages give to a net's weights, one package or family per file."""

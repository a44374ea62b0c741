"""The names and layouts of the arrays in exported safetensors files, one family per file."""

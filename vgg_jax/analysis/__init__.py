"""Facts about nets that need no training: sizes, memory, and what devices exchange.

`vgg_jax.describe` prints them. Nothing here reads a workdir or an image.
"""

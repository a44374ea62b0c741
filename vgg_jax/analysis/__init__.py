"""What can be said of a net without training it: sizes, memory, what devices exchange.

`vgg_jax.describe` prints it. It reads no workdir and no image.
"""

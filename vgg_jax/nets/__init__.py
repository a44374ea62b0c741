"""The nets of Table 1 as data and as a linen module, and how their arrays are sharded.

The package holds pure functions of parameters and pixels, and the config keys that describe a net.
Nothing here reads files, images or checkpoints.
"""

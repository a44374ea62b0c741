"""The process and its surroundings: its peers, signals, command line, git, the compiler's cache.

Every command starts and ends here. Nothing here knows of nets, images or runs.
"""

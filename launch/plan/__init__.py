"""What a sweep has to do: the paper's tables as data, and the graph of commands that makes them.

What is done already is read from the workdirs. Nothing here starts a process.
"""

"""Plans a sweep: the paper's tables as data, and the graph of commands that makes them.

Which commands are done is read from the workdirs. Nothing here starts a process.
"""

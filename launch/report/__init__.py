"""The report of a sweep: its errors beside the paper's, as Markdown and as one HTML page.

It is computed from the files of evaluations. Nothing here runs a net.
"""

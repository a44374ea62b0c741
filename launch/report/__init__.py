"""The report of a sweep: what its files say beside the paper, as Markdown and as one HTML page.

It is arithmetic on what evaluations left. Nothing here runs a net.
"""

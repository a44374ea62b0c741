"""A report of one run for people: `report.html`, one file without scripts.

It shows what a run has computed already, and computes no posteriors. `sections` says what is shown,
and `elements` how.
"""

"""The live page: what a scan shows while it goes on, in a browser.

It runs in a process of its own, reads the data directory and writes nothing into it.
"""

"""Measures filetransfer side by side with its peers: ``python -m benchmarks --help``.

__main__.py    the command
machine.py     what it runs on, and a network and a file system of its own
processes.py   servers as processes: begun, waited for, measured, ended by their ids
runs.py        interleaved runs, medians, spread, ratios pair by pair
files.py       the files that are moved, and whether they arrived
load.py        the client that all servers are measured with (c/load.c), called through ctypes
wires/         what a client says: version 1, HTTP, FTP
peers/         one module for each server: begin it, name its wire and its commands
workloads/     one module for each thing that is measured
report.py      tables (rst); plot.py: the drawing (svg)
c/             the load and the limit, in C, compiled when they are needed
"""

"""A file-transfer daemon on Twisted that answers when the file is on disk, and its client.

Import what is needed from the modules below; nothing is imported here, so that a command that only
prints its version starts at once.
"""

__version__ = "0.1.0"

"""Moving one body between a socket and an open file.

The rooms of this package know neither the wire nor the store: they move runs of n octets.
"""

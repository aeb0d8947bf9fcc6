"""What a client says. Each wire connects, begins and ends transfers; the octets between are the load's (load.py)."""

"""The servers that are measured. Each module begins one, and says how to talk to it."""

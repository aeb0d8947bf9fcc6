"""What both ends of TLS have in common: the policy, certificates and keys, pins, and the layer above a transport."""

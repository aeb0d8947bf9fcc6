"""The commands of ``ft-client``, one module each."""

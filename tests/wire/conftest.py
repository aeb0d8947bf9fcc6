"""Hypothesis without its clock: a test that is slow on a busy machine has not failed."""

from hypothesis import settings

settings.register_profile("wire", settings(), deadline=None)
settings.load_profile("wire")

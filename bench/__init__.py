"""Measures torchdev against a Dockerfile as people write it, and against the least that any tool must do.

It drives torchdev by its command line alone. Data flows from __main__ by way of scenarios to figures and table.
"""

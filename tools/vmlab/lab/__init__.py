"""The parts of tools/vmlab: packages, image, machine, truth, sampling, checks, scenarios, report. Standard library
only.
"""

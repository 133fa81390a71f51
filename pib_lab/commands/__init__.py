"""The commands of `pib-lab`, by what they have to do with a run: make one, look at recorded ones, talk to a live one.

Everything heavy is imported inside the functions: `pib-lab --help` must be there at once.
"""

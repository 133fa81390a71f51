"""Run files, data sets, device profiles and reports."""

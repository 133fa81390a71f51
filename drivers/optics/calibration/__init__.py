"""Calibration of an optical rig: procedures over its panel, camera and shutter, each from settings to findings."""

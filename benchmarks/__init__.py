"""Measurements: every number that the documentation states has its script here."""

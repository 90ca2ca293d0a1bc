"""Priors over codeword numbers."""

"""Nets for speech."""

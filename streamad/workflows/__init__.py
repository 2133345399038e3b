"""Workflows: what a command does from beginning to end, one verb a module."""

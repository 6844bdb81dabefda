"""Checks of a target, its drafter and the memory they need, from configuration files alone: nothing is loaded."""

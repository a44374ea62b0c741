"""Measures this code beside what a user would pick instead, each side in a process of its own."""

"""Printed output of the commands: tables, messages and progress."""

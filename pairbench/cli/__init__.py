"""Command line: each command reads its options, calls one library function, and prints."""

"""What boards are filled with: bundles of cells, entries made of them, their verification."""

"""What a data scientist would otherwise pick, written plainly: each scores all items for a row."""

"""What a run found, as plain data: rows, what each is matched with, and columns of quality."""

"""What each command does once it runs, a file each: imported then, for it takes seconds."""

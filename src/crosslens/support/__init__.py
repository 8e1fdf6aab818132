"""What every room stands on: errors, files and their state, places on disk, the terminal."""

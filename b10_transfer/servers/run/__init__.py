"""Running a command under the cache: its start, its signals, its end."""

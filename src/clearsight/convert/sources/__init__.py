"""One file a format that models come in; the file's name is the key."""

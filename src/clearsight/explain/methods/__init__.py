"""Explanation methods: one file a method, the file's name is its key."""

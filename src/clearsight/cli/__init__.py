"""The command line: one small file a verb; composes rooms, holds no logic."""

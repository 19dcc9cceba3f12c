"""Why a recognizer said so: `methods/`, and scores that say whether an explanation is faithful."""

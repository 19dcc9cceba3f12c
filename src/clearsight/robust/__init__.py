"""What breaks a recognizer: corruptions, deformations, attacks, certificates, the card."""

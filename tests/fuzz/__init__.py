"""What comes from outside, as octets that somebody hostile or a failing disk chose (docs/fuzzing.md)."""

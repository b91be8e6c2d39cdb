"""The models of the zoo: one family a file."""

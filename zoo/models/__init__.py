"""The models of the zoo, a family in a file."""

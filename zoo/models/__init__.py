"""The models of the zoo, a family in a file. A class with an `about` is a model: there is no list to extend."""

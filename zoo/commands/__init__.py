"""The commands beside Lightning's, one a file; each is imported when it is called."""

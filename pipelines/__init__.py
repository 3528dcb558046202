"""Load a pipeline by name, folder or hub id; generate images and videos; the command line."""

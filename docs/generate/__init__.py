"""What of the documentation is made when it is built: the pages of methods, of the command line and of the library."""

"""What the tests share: the server, its clients, and the functions that are put into it."""

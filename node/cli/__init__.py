"""The command line: a thin client of the socket. Nothing here imports what takes seconds to import."""

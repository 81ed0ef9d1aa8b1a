"""JSON-RPC 2.0 on a Unix socket: one typed definition a method, one file a noun, OpenRPC from both."""

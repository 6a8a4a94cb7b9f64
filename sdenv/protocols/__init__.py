"""Wire formats: bytes to core types and back. No sockets, no clock, no files."""

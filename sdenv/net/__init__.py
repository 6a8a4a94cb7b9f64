"""Connections to other machines: trust in certificates, HTTP sessions, the client of the native API."""

"""The pages of a server: the arena, the whiteboard, the dashboard, and the client library that they share.

Plain ES modules without a build step. `server/http` serves the files; nothing here is Python.
"""

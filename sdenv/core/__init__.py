"""The narrow waist: the types that everything which asks for pictures and everything which makes them share.

No torch, no web framework, no threads and no files in here: values, and pure functions over them.
"""

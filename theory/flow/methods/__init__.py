"""Integration methods: one file per method, found by name; each has `integrate(problem) -> Solution`.

Adding a method means adding a file. `WHERE` says on which devices it runs ("cpu" or "any").
"""

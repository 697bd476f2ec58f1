"""What a generator is and how to come by one: checks, sparse form, nearest generator."""

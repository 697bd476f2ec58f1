"""The claims: one file each, found by name (`verify.claim.discovery`); files that begin with an underscore are what
they share."""

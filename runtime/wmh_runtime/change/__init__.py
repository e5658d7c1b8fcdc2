"""Change of lesions over time: what is new, enlarging, shrinking, resolved or stable."""

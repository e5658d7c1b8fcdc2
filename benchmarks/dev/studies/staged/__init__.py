"""The study of learning in stages: does it help where masks of experts are few?"""

"""Near-duplicates: pictures of records that are copies of each other, within a set, across sets and between splits.

``hashing`` gives pictures their perceptual hashes, ``near_pairs`` finds those that are near each other among millions,
``finding`` decides which record is a copy of which, and ``report`` shows it.
"""

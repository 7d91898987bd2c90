"""Files on other file systems (S3, Google Storage, the hub, the web), through fsspec, as files on this machine.

What is read is copied once into a mirror of the file system (``mirror``); a file of a large set is fetched when it is
opened first. What is written is written there too, and uploaded when it is whole (``uploads``). Everything else of
facekit deals with paths on this machine, and of those that are not in the mirror nothing here is asked.
"""

"""The tasks: what is asked, what is true, how an answer is read and scored."""

"""Vocabularies of the answer readers, one file a language, and the choice of the language that an answer is in."""

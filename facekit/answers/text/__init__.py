"""The form of an answer: thoughts, boxes, JSON, tables, lines and sentences, as statements to read."""

"""Learning from rewards and from pairs of answers, on TRL's trainers: what they are given, and their run."""

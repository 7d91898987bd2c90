"""Two given faces compared, and attacks on face recognition detected: trials, their sets, and results."""

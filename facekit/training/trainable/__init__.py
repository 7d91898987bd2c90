"""Which parameters are trainable, in which float type, and how they are saved."""

"""The command line: each verb calls one function of a workshop and prints what comes back."""
